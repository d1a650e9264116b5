"""Command `gate`: decides whether a candidate may replace the champion."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from train.cli.data_options import add_data
from train.cli.evaluate import add_model_options, labels_of, local, measured

if TYPE_CHECKING:
    from train.evaluation.gate import Verdict

EXIT_CODES = {"passed": 0, "refused": 2, "not enough evidence": 3}
"""Exit codes by the gate's result; 1 is an error without a decision."""

_HELP = """\
Evaluate a candidate and the champion on the same texts, and decide whether the candidate may replace it.

The candidate passes if its balanced accuracy, averaged over the sets, is significantly higher than the
champion's minus the margin. It is refused if it is significantly worse there or on any sufficiently large set
or slice, is worse calibrated or slower, fails more behavioural tests, or has other labels. Otherwise the
evidence is not enough, and the number of further labelled texts is printed. train/gate.toml has every bound
with its reason; every check is printed with its value and bound.

Exit code: 0 passed, 2 refused (or the command line was not understood), 3 not enough evidence, 1 an error:
nothing was decided.
"""
_EXAMPLE = """\
examples:
  python -m train gate --candidate runs/new/bundle --champion registry:sentiment@champion \\
      --config train/builtin.toml --data DATA_DIR --slice department --out runs/new/gate
  python -m train gate --candidate runs/first/bundle --champion none --config my.toml --data DATA_DIR
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "gate",
        help="pass or refuse a candidate against the champion",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser)
    parser.add_argument("--candidate", required=True, metavar="URI", help="the model that wants in")
    parser.add_argument(
        "--champion", required=True, metavar="URI", help="the model that is live, or `none` for the first one"
    )
    add_model_options(parser)
    parser.add_argument(
        "--thresholds", type=Path, metavar="FILE", help="the bounds, TOML (default: train/gate.toml)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write the evaluation's report here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the verdict here")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from train.evaluation.gate import Verdict, decide, same_labels
    from train.evaluation.thresholds import DEFAULT, read_thresholds

    thresholds = read_thresholds(args.thresholds or DEFAULT)
    candidate = local(args.candidate)
    champion = None
    if args.champion != "none":
        labels = same_labels(candidate.labels, labels_of(args.champion))
        if not labels.passed:
            # Models with different labels cannot be compared.
            return _tell(args, Verdict((labels,)))
        champion = local(args.champion, candidate.labels)
    evaluation = measured(args, candidate, champion)
    verdict = decide(evaluation, thresholds)
    if args.out:
        from train.evaluation.report import write_report

        write_report(evaluation, args.out, verdict)
    return _tell(args, verdict)


def _tell(args: argparse.Namespace, verdict: "Verdict") -> int:
    from train.evaluation.tables import table

    rows = [["check", "measured", "bound", ""]]
    rows += [[check.name, check.measured, check.bound, check.outcome] for check in verdict.checks]
    print(table(rows), end="\n\n")
    for reason in verdict.reasons:
        print(f"- {reason}")
    print(verdict.answer.upper())
    if args.json:
        document = {
            "format": 1,
            "candidate": args.candidate,
            "champion": args.champion,
            "passed": verdict.passed,
            "answer": verdict.answer,
            "reasons": list(verdict.reasons),
            "checks": [asdict(check) for check in verdict.checks],
        }
        args.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return EXIT_CODES[verdict.answer]
