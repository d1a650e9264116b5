"""Progress messages of a run: loss, speed, remaining time, and results on held-out texts."""

import time

import numpy as np

from train.training.checkpoint import Progress


class Reporter:
    """Counter of steps, with the history of the evaluations.

    Args:
        total_steps: Number of steps of the run.
        every: Number of steps between two messages.
        so_far: Progress of an interrupted run before this one.
        speaks: Whether to print; only one worker does.
    """

    def __init__(self, total_steps: int, every: int, so_far: Progress, *, speaks: bool) -> None:
        self._total = total_steps
        self._every = every
        self._speaks = speaks
        self._progress = so_far
        self._first = so_far.step
        last = so_far.history[-1] if so_far.history else {}
        self._begun_s = time.monotonic() - last.get("elapsed_s", 0.0)
        self._tokens = last.get("tokens", 0)
        self._since_line: list[float] = []
        self._since_evaluation: list[float] = []
        if so_far.step:
            self._say(f"resuming after step {so_far.step} of {total_steps}")

    def after_step(self, number: int, loss: float, tokens: int) -> None:
        """Count one step; print a message every few steps."""
        self._since_line.append(loss)
        self._since_evaluation.append(loss)
        self._tokens += tokens
        if number % self._every and number != self._total:
            return
        elapsed_s = time.monotonic() - self._begun_s
        left_s = elapsed_s / number * (self._total - number)
        self._say(
            f"step {number}/{self._total}  loss {np.mean(self._since_line):.4f}  "
            f"{self._tokens / elapsed_s:,.0f} tokens/s per worker  "
            f"{elapsed_s / 60:.1f} min elapsed, {left_s / 60:.1f} min remaining"
        )
        self._since_line.clear()

    def after_evaluation(self, number: int, figures: dict[str, float]) -> Progress:
        """Print the results on the held-out samples, and add them to the history."""
        if figures:
            listed = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            self._say(f"step {number}/{self._total}  {listed}")
        entry = {
            "step": number,
            "loss": float(np.mean(self._since_evaluation)),
            "tokens": self._tokens,
            "elapsed_s": time.monotonic() - self._begun_s,
            **figures,
        }
        self._since_evaluation.clear()
        self._progress = Progress(number, (*self._progress.history, entry))
        return self._progress

    def _say(self, line: str) -> None:
        if self._speaks:
            print(line, flush=True)
