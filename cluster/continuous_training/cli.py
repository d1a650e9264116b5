"""`loop`: decides the next step for a model, from its prediction log to its rollout, and executes it."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.rollout import cli as rollout
from train.cli.retrain import add_retraining, retrainer

if TYPE_CHECKING:
    from cluster.continuous_training.executor import Loop
    from cluster.continuous_training.planner import PlannedStep

BLOCKED = 2
"""Exit code if the loop is blocked; 0 for everything else except errors."""
_MOST_STEPS = 10

_HELP = """\
Read the prediction log, the registry, what was retrained and what was rolled out; say which step is next and
why; carry it out, and go on until there is nothing to do. No scheduler and no state of its own: cron, a
RayJob or a Lambda calls it, as often as they like.

wait         too few new answers, too few labels, or the last look was a moment ago
drift-check  as `python -m train drift`: its report is in WORK/looks/
retrain      as `python -m train retrain`, on the window of that look
rollout      as `python -m cluster rollout start`; the registry's aliases move along
done         the retrained version is on every pod
blocked      no champion, or the gate or the rollout refused what was made; says until when

Bounds: train/drift.toml, train/retrain.toml, train/gate.toml, and the rollout's plan.
"""
_EXAMPLE = """\
examples:
  python -m cluster loop sentiment --log logs --dry-run
  python -m cluster loop sentiment --log s3://bucket/log --once --json

exit codes: 0 done or nothing to do, 2 blocked, 1 an error: the same call tries again
"""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the verb."""
    parser = verbs.add_parser(
        "loop",
        help="from drift to a retrained version on every pod, a step at a time",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="the registered model")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="carry out one step at most")
    how.add_argument("--dry-run", action="store_true", help="say what is next, and do nothing")
    add_retraining(parser)
    parser.add_argument("--drift", type=Path, metavar="FILE", help="TOML (default: train/drift.toml)")
    rollout.add_common(parser)
    parser.add_argument(
        "--plan", type=Path, metavar="TOML", help="of the rollout: stages, samples, tolerances"
    )
    parser.set_defaults(run=_run, raise_to_two=False, hold=False, little_traffic="refuse")


def _run(chosen: argparse.Namespace) -> int:
    from cluster.continuous_training.planner import LoopStep

    loop = _loop(chosen)
    for _ in range(_MOST_STEPS):
        observed, found = loop.decide()
        _say(chosen, found)
        if chosen.dry_run or not found.step.works:
            break
        with redirect_stdout(sys.stderr):  # messages of the step are progress output here
            loop.execute(observed, found.step)
        if chosen.once:
            break
    return BLOCKED if found.step is LoopStep.BLOCKED else 0


def _say(chosen: argparse.Namespace, found: PlannedStep) -> None:
    line = json.dumps({"step": found.step, "reason": found.reason})
    print(line if chosen.json else f"{found.step}: {found.reason}", flush=True)


def _loop(chosen: argparse.Namespace) -> Loop:
    from cluster.continuous_training.executor import Loop
    from cluster.rollout.journal.file import FileJournal
    from train.drift.thresholds import DEFAULT, read_thresholds
    from train.registry import open_registry

    open_it = partial(open_registry, chosen.registry, chosen.artifacts)

    def roll_out(reference: str) -> None:
        rollout.start_rollout(argparse.Namespace(**{**vars(chosen), "canary": reference}), open_it)

    def go_on() -> None:
        rollout.resume_rollout(chosen, open_it)

    return Loop(
        chosen.name,
        retrainer(chosen),
        read_thresholds(chosen.drift or DEFAULT),
        FileJournal(chosen.journal),
        roll_out,
        go_on,
    )
