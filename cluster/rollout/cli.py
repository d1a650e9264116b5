"""`rollout`: a new version on one pod first, watched, then on all, or rolled back."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.rollout.target_options import add_target_options, selected_target

if TYPE_CHECKING:
    from cluster.rollout.analysis import Decision
    from cluster.rollout.controller import Controller, OnProgress
    from cluster.rollout.journal.base import Journal
    from cluster.rollout.state import Rollout
    from cluster.rollout.targets.base import DeploymentState
    from train.registry import Registry

PROMOTED, ROLLED_BACK, STOPPED = 0, 2, 3
"""Exit codes of verbs that run a rollout to its end. Code 0 of the other verbs means that they succeeded."""
Open = Callable[[], "Registry"]
"""Function that opens the registry."""

_EXAMPLE = """\
examples:
  python -m cluster rollout start --canary s3://models/sentiment/7     # watches, decides; exit code 0 or 2
  python -m cluster rollout start --canary registry:senti/8             # its aliases move along
  python -m cluster rollout status --watch
  python -m cluster rollout abort
  python -m cluster rollout start --canary s3://models/sentiment/7 --target rayservice --namespace prod
exit codes: 0 promoted, 2 rolled back, 3 stopped by a change of others, 1 an error
docs/rollout.md has the plan's keys
"""


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the verb, with its own verbs."""
    parser = verbs.add_parser(
        "rollout",
        help="a new version on one pod first, watched, then on all, or rolled back",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = parser.add_subparsers(required=True, metavar="verb")
    start = own.add_parser("start", help="begin, and carry it to its end; again: go on with the same one")
    add_common(start)
    start.add_argument(
        "--canary",
        required=True,
        metavar="URI",
        help="the new model: as SENTIMENT_MODEL, or registry:NAME/VERSION, registry:NAME@ALIAS",
    )
    start.add_argument(
        "--plan", type=Path, metavar="TOML", help="stages, samples, tolerances (default: built in)"
    )
    start.add_argument(
        "--raise-to-two", action="store_true", help="with one replica, have two until the rollout ends"
    )
    start.add_argument(
        "--hold",
        action="store_true",
        help="end with exit code 0 when the first stage is passed; `resume` goes on, `abort` takes it back",
    )
    start.add_argument(
        "--little-traffic",
        choices=("refuse", "adapt", "ignore"),
        default="refuse",
        help="where the stages would take longer than max_stage_s: refuse, adapt (a smaller sample, with its "
        "loss of power), or ignore (%(default)s)",
    )
    start.set_defaults(run=start_rollout)
    resume = own.add_parser("resume", help="go on with what a controller left when it died")
    add_common(resume)
    resume.set_defaults(run=resume_rollout)
    for name, text in (("promote", "to all pods now, whatever the tests say"), ("abort", "take it back now")):
        verb = own.add_parser(name, help=text)
        add_common(verb)
        verb.set_defaults(run=_ask, verb=name)
    status = own.add_parser("status", help="where it stands, and what the pods serve")
    add_common(status)
    status.add_argument("--watch", action="store_true", help="until it ends, or Ctrl-C")
    status.set_defaults(run=_status)
    past = own.add_parser("history", help="every transition of every rollout")
    add_common(past)
    past.set_defaults(run=_history)
    power = own.add_parser("power", help="how soon which difference is found, by simulation")
    power.add_argument("--plan", type=Path, metavar="TOML", help="(default: built in)")
    power.add_argument("--rollouts", type=int, default=1000, help="simulated for each row (%(default)s)")
    power.add_argument(
        *("--rate", "--canary-rate"), type=float, default=10.0, help="requests/s to a pod (%(default)s)"
    )
    power.add_argument("--pods", type=int, default=4, help="of the deployment (%(default)s)")
    power.add_argument("--minutes", type=float, default=10.0, help="of a rollout (%(default)s)")
    power.add_argument("--seed", type=int, default=1)
    power.set_defaults(run=_power)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the cluster, the metrics and the journal."""
    add_target_options(parser)
    parser.add_argument(
        "--journal",
        default="runs/rollout",
        metavar="DIR",
        help="its memory, also s3://bucket/prefix (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def open_default() -> Registry:
    """Open the registry that the environment selects."""
    from train.registry import open_registry

    return open_registry()


def start_rollout(chosen: argparse.Namespace, open_it: Open = open_default) -> int:
    """Start the rollout of `chosen.canary`, run it to its end, and return the exit code.

    Args:
        chosen: options of `rollout start`.
        open_it: opens the registry.
    """
    from cluster.rollout.duration import LittleTraffic
    from cluster.rollout.plan import read_plan
    from cluster.rollout.registry import find
    from cluster.rollout.state import ModelVersion

    plan, found = read_plan(chosen.plan), find(chosen.canary, open_it)
    serving = _serving(chosen) if found else None
    with _controller(chosen, open_it) as controller:
        rollout = controller.start(
            found.canary if found else ModelVersion(chosen.canary),
            plan,
            champion_version=found.champion_version(serving.split.champion) if found and serving else None,
            model=found.model if found else None,
            raise_to_two=chosen.raise_to_two,
            hold=chosen.hold,
            little_traffic=LittleTraffic(chosen.little_traffic),
        )
    return _ended(chosen, rollout)


def resume_rollout(chosen: argparse.Namespace, open_it: Open = open_default) -> int:
    """Run the active rollout to its end; arguments as for `start_rollout`."""
    with _controller(chosen, open_it) as controller:
        rollout = controller.resume()
    return _ended(chosen, rollout)


def _ask(chosen: argparse.Namespace) -> int:
    from cluster.rollout.state import Verb

    with _controller(chosen) as controller:
        rollout = controller.ask(Verb(chosen.verb))
    if not rollout.state.rests:
        print(f"the controller at work has taken {chosen.verb}; see `rollout status --watch`")
        return PROMOTED
    _ended(chosen, rollout)
    return PROMOTED  # the request was executed


def _status(chosen: argparse.Namespace) -> int:
    from cluster.rollout.report import as_json, describe

    journal = _journal(chosen)
    while True:
        rollout, serving = journal.rollout(), _serving(chosen)
        if chosen.json:
            print(json.dumps(as_json(rollout, serving)), flush=True)
        else:
            clear = "\x1b[H\x1b[2J" if chosen.watch and sys.stdout.isatty() else ""
            print(clear + describe(rollout, serving, is_running=journal.is_held()), flush=True)
        if not chosen.watch or rollout.state.rests:
            return PROMOTED
        try:
            time.sleep(2)
        except KeyboardInterrupt:
            return PROMOTED


def _history(chosen: argparse.Namespace) -> int:
    from cluster.rollout.report import history

    entries = _journal(chosen).entries()
    if chosen.json:
        for entry in entries:
            print(json.dumps(entry))
    else:
        print("\n".join(history(entries)) or "no rollout yet")
    return PROMOTED


def _power(chosen: argparse.Namespace) -> int:
    from cluster.rollout.plan import read_plan
    from cluster.rollout.power import SimulatedTraffic, power

    plan = read_plan(chosen.plan)
    canary = chosen.rate * plan.window_s
    windows = max(1, round(60 * chosen.minutes / plan.window_s))
    traffic = SimulatedTraffic(windows=windows, canary=canary, champion=canary * (chosen.pods - 1))
    print(power(plan, traffic, rollouts=chosen.rollouts, seed=chosen.seed))
    return PROMOTED


@contextmanager
def _controller(chosen: argparse.Namespace, open_it: Open = open_default) -> Iterator[Controller]:
    from cluster.rollout.controller import Controller
    from cluster.rollout.registry import RegistryAliases

    with selected_target(chosen) as (target, source):
        aliases = RegistryAliases(open_it)
        yield Controller(_journal(chosen), target, source, aliases=aliases, on_progress=_teller(chosen))


def _journal(chosen: argparse.Namespace) -> Journal:
    from cluster.rollout.journal.base import open_journal

    return open_journal(chosen.journal)


def _serving(chosen: argparse.Namespace) -> DeploymentState | None:
    """Return the state of the cluster, or None with a warning on stderr.

    The journal can be read without it.
    """
    from cluster.rollout.errors import TargetError

    try:
        with selected_target(chosen) as (target, _):
            return target.read()
    except TargetError as error:
        print(f"warning: {error}", file=sys.stderr)
        return None


def _teller(chosen: argparse.Namespace) -> OnProgress:
    from cluster.rollout.report import as_json, table

    def on_progress(rollout: Rollout, line: str, decision: Decision | None) -> None:
        if chosen.json:
            print(json.dumps({**as_json(rollout, None), "event": line}), flush=True)
            return
        print(f"[{time.strftime('%H:%M:%S')}] {rollout.state:<12} {line}", flush=True)
        if decision is not None:
            print("\n".join(table(rollout)), flush=True)

    return on_progress


def _ended(chosen: argparse.Namespace, rollout: Rollout) -> int:
    """Print the last line and return the exit code."""
    from cluster.rollout.report import as_json
    from cluster.rollout.state import RolloutState

    if chosen.json:
        print(json.dumps(as_json(rollout, None)), flush=True)
    else:
        state = "held" if rollout.held else rollout.state.replace("_", " ")
        print(f"{state}: {rollout.reason}", flush=True)
    return {RolloutState.ROLLED_BACK: ROLLED_BACK, RolloutState.STOPPED: STOPPED}.get(rollout.state, PROMOTED)
