"""Training loop of every Ray Train worker, with the same code for one worker and for several.

Every worker maps the same data, creates the same schedule from the same seed, and processes its share of each
step's texts. DistributedDataParallel of torch averages the gradients. After each periodic evaluation on
held-out texts, a checkpoint is written; a restarted run continues from the last one, with the same result as
an uninterrupted run.
"""

import logging
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from serve_app.model.padding import Padding
from train.base_model import find_base, frame_of, load_tokenizer
from train.datasets.sampler import Frame, SampledExample, Schedule, TrainPart, cut, schedule
from train.datasets.tokenized import first_of_each_label
from train.evaluation.metrics import figures
from train.settings import FitSettings, OptimiserSettings
from train.training.batches import shard_batch
from train.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from train.training.data import Prepared, local_copy
from train.training.ema import WeightAverage
from train.training.forward import autocast, groups_of, predict
from train.training.model import TrainModel, build
from train.training.progress import Reporter

SCORE = "held_out_balanced_accuracy"
"""Mean balanced accuracy over the held-out samples, which decides early stopping."""

_Text = tuple[Sequence[int], list[float]]
"""Token ids, and the target share of each label."""


def train_loop(config: dict[str, Any]) -> str | None:
    """Train one model and report it to Ray Train as checkpoints.

    Args:
        config: `settings` (a dumped `FitSettings`), `padding` and `max_tokens` (of a `ServedInput`, as a
            dict), `prepared` (a folder or its URI), `threads` (of torch; 0 for no change) and `max_steps` (0
            for the complete schedule).

    Returns:
        Description of a permanent failure, or None. An exception makes Ray Train restart the workers.
    """
    import ray.train
    import ray.train.torch

    # Ray Train logs each report in full, through a logger that is named after its file.
    logging.getLogger().setLevel(logging.WARNING)
    settings = FitSettings.model_validate(config["settings"])
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()

    base = find_base(settings.base)
    data = local_copy(config["prepared"])
    plan = _plan(data, settings)
    batch = settings.optimiser.batch_texts
    total = len(plan) // batch + (len(plan) % batch >= workers)
    total = min(total, config["max_steps"] or total)

    torch.manual_seed(settings.seed)
    trained = build(base, settings)
    wrapped = ray.train.torch.prepare_model(trained.model)
    average = WeightAverage(trained.model, settings.optimiser.average_decay)
    padding = Padding(**config["padding"])
    frame = frame_of(load_tokenizer(base), max_tokens=config["max_tokens"])
    weights = _class_weights(plan, data, settings)
    trainer = _Trainer(wrapped, trained, settings, total, padding, workers, weights)
    progress = Progress()
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            progress = load_checkpoint(Path(folder), trained, average, trainer.state)
    samples = _samples(data, settings, frame)
    evaluation_at = evaluation_steps(total, settings.progress.evaluations)
    reporter = Reporter(total, settings.progress.log_every_steps, progress, speaks=rank == 0)
    for number in range(progress.step + 1, total + 1):
        step = plan.draws((number - 1) * batch, number * batch)
        mine = shard_batch([_text(data, settings, draw, frame) for draw in step], rank, workers)
        # Dropout is the same in an interrupted and an uninterrupted run, and different for each worker.
        torch.manual_seed(hash((settings.seed, number, rank)))
        loss, tokens, finite = trainer.step(mine, of_texts=len(step))
        if not finite:
            return (
                f"the loss is not finite at step {number} of {total}; lower optimiser.learning_rate, or "
                "check the texts for outliers"
            )
        average.update()
        reporter.after_step(number, loss, tokens)
        if number in evaluation_at:
            with average.applied():
                held_out = _evaluate(trained, samples, settings, padding) if rank == 0 else {}
                progress = reporter.after_evaluation(number, held_out)
                with tempfile.TemporaryDirectory() as folder:
                    stored = None
                    if rank == 0:
                        save_checkpoint(Path(folder), trained, average, trainer.state, progress)
                        stored = ray.train.Checkpoint.from_directory(folder)
                    ray.train.report(progress.history[-1] if rank == 0 else {"step": number}, stored)
            if _is_over(progress, settings.progress.patience, workers):
                break
    return None


def _plan(data: Prepared, settings: FitSettings) -> Schedule:
    parts = []
    for source in settings.data:
        table = data.tables[source.name]
        rows = table.parts.train
        parts.append(TrainPart(labels=table.labels[rows], words=table.words[rows]))
    return schedule(parts, settings.data, settings.seed)


def _text(data: Prepared, settings: FitSettings, draw: SampledExample, frame: Frame) -> _Text:
    """Return the text and target of one draw."""
    source = settings.data[draw.source]
    table = data.tables[source.name]
    row = int(table.parts.train[draw.index])
    shares = [0.0] * len(settings.labels)
    shares[table.labels[row]] = 1.0
    if weight := source.teacher_weight:
        taught = table.teacher[row].tolist()
        shares = [(1 - weight) * own + weight * of for own, of in zip(shares, taught, strict=True)]
    return cut(table.ids(row), draw.max_tokens, draw.start, frame), shares


def _class_weights(plan: Schedule, data: Prepared, settings: FitSettings) -> torch.Tensor | None:
    wanted = settings.optimiser.class_weights
    if wanted == "none":
        return None
    if isinstance(wanted, dict):
        return torch.tensor([wanted[label] for label in settings.labels])
    shown = np.zeros(len(settings.labels))
    for source, of_set in enumerate(settings.data):
        table = data.tables[of_set.name]
        rows = table.parts.train[plan.index[plan.source == source]]
        shown += np.bincount(table.labels[rows], minlength=len(shown))
    return torch.tensor(shown.sum() / (len(shown) * np.maximum(shown, 1)), dtype=torch.float32)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Held-out texts of one set, which every evaluation uses."""

    ids: list[list[int]]
    labels: list[int]


def _samples(data: Prepared, settings: FitSettings, frame: Frame) -> dict[str, _Sample]:
    found = {}
    for name, table in data.tables.items():
        rows = first_of_each_label(table, table.parts.held_out, settings.progress.sample_texts)
        if rows:
            ids = [cut(table.ids(row), settings.progress.sample_tokens, 0.0, frame) for row in rows]
            found[name] = _Sample(ids, [int(table.labels[row]) for row in rows])
    return found


class _Trainer:
    """Optimiser state; `step` is called once per step."""

    def __init__(
        self,
        wrapped: torch.nn.Module,
        trained: TrainModel,
        settings: FitSettings,
        total_steps: int,
        padding: Padding,
        workers: int,
        class_weights: torch.Tensor | None,
    ) -> None:
        self._model = wrapped
        self._settings = settings.optimiser
        self._padding = padding
        self._workers = workers
        parameters = trained.trained
        self._parameters = list(parameters.values())
        self._device = self._parameters[0].device
        self._class_weights = None if class_weights is None else class_weights.to(self._device)
        rate, head_rate = settings.learning_rates
        head = [value for name, value in parameters.items() if trained.is_head(name)]
        rest = [value for name, value in parameters.items() if not trained.is_head(name)]
        self._optimiser = torch.optim.AdamW(
            [{"params": rest, "lr": rate}, {"params": head, "lr": head_rate}],
            weight_decay=settings.optimiser.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: learning_rate_factor(step, total_steps, settings.optimiser)
        )

    @property
    def state(self) -> dict[str, Any]:
        """Return the objects that have a `state_dict`, by name."""
        return {"optimiser": self._optimiser, "schedule": self._schedule}

    def step(self, texts: list[_Text], *, of_texts: int) -> tuple[float, int, bool]:
        """Update the weights by one step.

        Args:
            texts: Texts of this worker.
            of_texts: Number of texts of the step over all workers.

        Returns:
            Mean loss of this worker's texts, number of their tokens, and whether the gradient was finite,
            which is the same for every worker. If it was not finite, the weights are not changed.
        """
        self._model.train()
        lengths, budget = [len(ids) for ids, _ in texts], self._settings.micro_batch_tokens
        groups = groups_of(lengths, budget, self._device, self._padding)
        total = 0.0
        for number, group in enumerate(groups, start=1):
            inputs = self._padding.tensors([texts[i][0] for i in group], self._device)
            shares = torch.tensor([texts[i][1] for i in group], device=self._device)
            # Workers exchange gradients once per step, in its last backward pass.
            exchange = self._workers == 1 or number == len(groups)
            with nullcontext() if exchange else cast(Any, self._model).no_sync():
                with autocast(self._device, self._settings.precision):
                    logits = self._model(**inputs).logits
                loss = torch.nn.functional.cross_entropy(
                    logits.float(),
                    shares,
                    weight=self._class_weights,
                    reduction="sum",
                    label_smoothing=self._settings.label_smoothing,
                )
                torch.autograd.backward(loss * self._workers / of_texts)
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.max_grad_norm)
        finite = bool(torch.isfinite(norm))
        if finite:
            self._optimiser.step()
            self._schedule.step()
        self._optimiser.zero_grad(set_to_none=True)
        return total / len(texts), sum(len(ids) for ids, _ in texts), finite


def learning_rate_factor(step: int, total_steps: int, settings: OptimiserSettings) -> float:
    """Return the learning-rate factor at a step, from 0: a linear rise, then a linear fall towards 0."""
    warmup = max(1, round(settings.warmup_fraction * total_steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup))


def evaluation_steps(total_steps: int, evaluations: int) -> set[int]:
    """Return the steps after which held-out texts are evaluated: evenly spread, including the last step."""
    return {max(1, round(total_steps * entry / evaluations)) for entry in range(1, evaluations + 1)}


def _evaluate(
    trained: TrainModel, samples: dict[str, _Sample], settings: FitSettings, padding: Padding
) -> dict[str, float]:
    device = next(trained.model.parameters()).device
    found, losses = {}, []
    for name, sample in samples.items():
        logits = predict(
            trained.model, sample.ids, padding=padding, device=device, precision=settings.optimiser.precision
        )
        losses.append(
            torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.tensor(sample.labels)).item()
        )
        scores = figures(sample.labels, logits.argmax(axis=1), settings.labels)
        found[f"{name}_balanced_accuracy"] = scores.balanced_accuracy
    if not found:
        return {}
    return {SCORE: float(np.mean(list(found.values()))), "held_out_loss": float(np.mean(losses)), **found}


def _is_over(progress: Progress, patience: int, workers: int) -> bool:
    """Return whether the score has stopped improving; the first worker decides for all."""
    over = patience > 0 and progress.evals_without_improvement(SCORE) >= patience
    if workers == 1:
        return over
    flag = torch.tensor([int(over)], device="cuda" if torch.cuda.is_available() else "cpu")
    torch.distributed.broadcast(flag, src=0)
    return bool(flag.item())
