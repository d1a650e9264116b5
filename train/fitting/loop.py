"""The training loop that every Ray Train worker runs; the same code for one worker and for many.

Every worker reads the same data, makes the same schedule from the same seed, and takes its share of each
step's texts. Gradients are averaged by torch's DistributedDataParallel.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from train.base import load_classifier, load_tokenizer, token_ids
from train.errors import FitFailed
from train.evaluation.figures import figures
from train.fitting.averaging import WeightAverage
from train.fitting.batches import deal, micro_batches, steps
from train.fitting.forward import autocast, padded, predict
from train.fitting.lora import attach, save_adapter
from train.settings import FitSettings, OptimiserSettings
from train.texts.mix import Draw, cut, schedule
from train.texts.sets import read_splits, sample

HISTORY = "history.json"


@dataclass(frozen=True, slots=True)
class _Set:
    """One set, tokenised."""

    train_ids: list[list[int]]
    train_labels: list[int]
    sample_ids: list[list[int]]
    sample_labels: list[int]


def train_loop(config: dict[str, Any]) -> None:
    """Train one adapter and report it to Ray Train as a checkpoint.

    Args:
        config: `settings` (a dumped `FitSettings`), `data_dir`, `start_from` (an adapter's folder or None),
            `threads` (of torch; 0 leaves it alone) and `max_steps` (0: all of the schedule).

    Raises:
        FitFailed: The loss is not a number.
    """
    import ray.train
    import ray.train.torch

    settings = FitSettings.model_validate(config["settings"])
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()

    tokenizer = load_tokenizer(settings.base)
    splits = read_splits(settings, Path(config["data_dir"]))
    sets = {
        name: _tokenised(
            tokenizer, split.train, sample(split.held_out, settings.progress.sample_texts), settings
        )
        for name, split in splits.items()
    }
    draws = schedule([split.train for split in splits.values()], settings.data, settings.seed)
    plan = [step for step in steps(draws, settings.optimiser.batch_texts) if len(step) >= workers]
    plan = plan[: config["max_steps"] or len(plan)]

    torch.manual_seed(settings.seed)
    plain = load_classifier(
        settings.base,
        settings.labels,
        dropout=settings.optimiser.dropout,
        encoder_dropout=settings.optimiser.encoder_dropout,
    )
    start_from = Path(config["start_from"]) if config["start_from"] else None
    model = attach(plain, settings.lora, start_from=start_from)
    wrapped = ray.train.torch.prepare_model(model)
    average = WeightAverage(model, settings.optimiser.average_decay)
    trainer = _Trainer(wrapped, model, settings, len(plan), tokenizer.pad_token_id, rank, workers)
    tables = list(sets.values())
    looks = _looks(len(plan), settings.progress.evaluations)
    history: list[dict[str, float]] = []
    progress = _Progress(len(plan), settings.progress.log_every_steps, speaks=rank == 0)
    for number, step in enumerate(plan, start=1):
        mine = deal([_text(tables, draw) for draw in step], rank, workers)
        loss, tokens = trainer.step(mine, of_texts=len(step))
        if not np.isfinite(loss):
            raise FitFailed(f"the loss is {loss} at step {number} of {len(plan)}; lower the learning rate")
        average.update()
        progress.after_step(number, loss, tokens)
        if number in looks:
            with average.applied():
                held_out = _look(model, sets, settings, tokenizer.pad_token_id) if rank == 0 else {}
                progress.held_out(number, held_out)
                history.append({**progress.metrics(number), **held_out})
                _report(ray.train, model, settings, history, rank)


def _tokenised(tokenizer: Any, train: Any, held_out: Any, settings: FitSettings) -> _Set:
    limit = settings.progress.sample_tokens
    held_ids = token_ids(tokenizer, [example.text for example in held_out])
    return _Set(
        train_ids=token_ids(tokenizer, [example.text for example in train]),
        train_labels=[example.label for example in train],
        sample_ids=[cut(ids, limit, 0.0) for ids in held_ids],
        sample_labels=[example.label for example in held_out],
    )


def _text(tables: list[_Set], draw: Draw) -> tuple[Sequence[int], int]:
    """Token ids and label of one draw."""
    of_set = tables[draw.source]
    return cut(of_set.train_ids[draw.index], draw.max_tokens, draw.start), of_set.train_labels[draw.index]


class _Trainer:
    """The optimiser's state; one call a step."""

    def __init__(
        self,
        wrapped: torch.nn.Module,
        model: torch.nn.Module,
        settings: FitSettings,
        total_steps: int,
        pad_id: int,
        rank: int,
        workers: int,
    ) -> None:
        self._model = wrapped
        self._settings = settings.optimiser
        self._pad_id = pad_id
        self._workers = workers
        self._device = next(model.parameters()).device
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        head: list[torch.nn.Parameter] = []
        rest: list[torch.nn.Parameter] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                (rest if "lora_" in name else head).append(parameter)
        self._optimiser = torch.optim.AdamW(
            [
                {"params": rest, "lr": settings.optimiser.learning_rate},
                {"params": head, "lr": settings.optimiser.head_learning_rate},
            ],
            weight_decay=settings.optimiser.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: learning_rate_factor(step, total_steps, settings.optimiser)
        )
        # Workers draw different dropout; all else that is random was drawn alike before.
        torch.manual_seed(settings.seed + 1 + rank)

    def step(self, texts: list[tuple[Sequence[int], int]], *, of_texts: int) -> tuple[float, int]:
        """Move the weights by one step.

        Args:
            texts: This worker's part: token ids and label.
            of_texts: Texts of the step over all workers.

        Returns:
            The mean loss of this worker's texts, and how many tokens they had.
        """
        self._model.train()
        groups = micro_batches([len(ids) for ids, _ in texts], self._settings.micro_batch_tokens)
        total = 0.0
        for number, group in enumerate(groups, start=1):
            inputs = padded([texts[i][0] for i in group], self._pad_id, self._device)
            labels = torch.tensor([texts[i][1] for i in group], device=self._device)
            # Workers exchange gradients once a step, in its last backward pass.
            exchange = self._workers == 1 or number == len(groups)
            with nullcontext() if exchange else cast(Any, self._model).no_sync():
                with autocast(self._device, self._settings.precision):
                    logits = self._model(**inputs).logits
                loss = torch.nn.functional.cross_entropy(
                    logits.float(), labels, reduction="sum", label_smoothing=self._settings.label_smoothing
                )
                torch.autograd.backward(loss * self._workers / of_texts)
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.max_grad_norm)
        self._optimiser.step()
        self._schedule.step()
        self._optimiser.zero_grad(set_to_none=True)
        return total / len(texts), sum(len(ids) for ids, _ in texts)


def learning_rate_factor(step: int, total_steps: int, settings: OptimiserSettings) -> float:
    """The share of the learning rate at a step, from 0: a linear rise, then a linear fall towards 0."""
    warmup = max(1, round(settings.warmup_fraction * total_steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup))


def _looks(total_steps: int, evaluations: int) -> set[int]:
    return {max(1, round(total_steps * look / evaluations)) for look in range(1, evaluations + 1)}


def _look(model: Any, sets: dict[str, _Set], settings: FitSettings, pad_id: int) -> dict[str, float]:
    device = next(model.parameters()).device
    found = {}
    for name, of_set in sets.items():
        if not of_set.sample_ids:
            continue
        logits = predict(
            model, of_set.sample_ids, pad_id=pad_id, device=device, precision=settings.optimiser.precision
        )
        scores = figures(of_set.sample_labels, logits.argmax(axis=1), settings.labels)
        found[f"{name}_balanced_accuracy"] = scores.balanced_accuracy
    return found


def _report(
    ray_train: Any, model: Any, settings: FitSettings, history: list[dict[str, float]], rank: int
) -> None:
    """Hand Ray Train the newest metrics and, from the first worker, the adapter with all metrics so far."""
    if rank != 0:
        ray_train.report(history[-1])
        return
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(model, Path(folder), base=settings.base)
        (Path(folder) / HISTORY).write_text(json.dumps(history), encoding="utf-8")
        ray_train.report(history[-1], checkpoint=ray_train.Checkpoint.from_directory(folder))


class _Progress:
    """Says where the run stands: loss, speed, and when it will be done."""

    def __init__(self, total_steps: int, every: int, *, speaks: bool) -> None:
        self._total = total_steps
        self._every = every
        self._speaks = speaks
        self._begun_s = time.monotonic()
        self._recent: list[float] = []
        self._tokens = 0
        self._mean_loss = float("nan")

    def after_step(self, number: int, loss: float, tokens: int) -> None:
        """Count one step in; say something every so often."""
        self._recent.append(loss)
        self._tokens += tokens
        if number % self._every and number != self._total:
            return
        self._mean_loss = float(np.mean(self._recent))
        self._recent.clear()
        elapsed_s = time.monotonic() - self._begun_s
        left_s = elapsed_s / number * (self._total - number)
        self._say(
            f"step {number}/{self._total}  loss {self._mean_loss:.4f}  "
            f"{self._tokens / elapsed_s:,.0f} tokens/s a worker  "
            f"{elapsed_s / 60:.1f} min gone, {left_s / 60:.1f} min left"
        )

    def held_out(self, number: int, found: dict[str, float]) -> None:
        """Say what the held-out sample gave."""
        listed = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
        self._say(f"step {number}/{self._total}  held out: {listed}")

    def metrics(self, number: int) -> dict[str, float]:
        """For Ray Train's report."""
        elapsed_s = time.monotonic() - self._begun_s
        return {
            "step": number,
            "loss": float(np.mean(self._recent)) if self._recent else self._mean_loss,
            "tokens_per_s": self._tokens / elapsed_s,
            "elapsed_s": elapsed_s,
        }

    def _say(self, line: str) -> None:
        if self._speaks:
            print(line, flush=True)
