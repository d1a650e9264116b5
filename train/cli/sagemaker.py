"""Command `sagemaker`: runs `fit` as a SageMaker training job."""

import argparse
import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from train.cli import fit
from train.errors import SettingsFileError

if TYPE_CHECKING:
    from train.sagemaker import Job

_HELP = """\
Run `fit` inside a SageMaker training job; the training image does so when SageMaker says `train`.

The channel `training` (or `train`) holds the texts, `validation` those to hold out, if there is one.
Hyperparameters are the options of `python -m train fit`, such as {"label_names": "0=NEGATIVE 1=POSITIVE",
"epochs": "2"}; `config` is a settings file in the channel, and "true" sets a flag. The bundle becomes the
job's model artifact, report and curves its output data, and what went wrong its FailureReason.

A job with a checkpoint configuration goes on from there when it is started again, as spot jobs are.
"""
_KEPT = ("report.json", "learning_curves.png")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "sagemaker",
        help="fit, inside a SageMaker training job",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> int:
    from train.sagemaker import job_of

    return run_job(job_of(os.environ))


def run_job(job: "Job") -> int:
    """Run `fit` for a job and copy its results to the folders that SageMaker collects.

    Raises:
        TrainError: `fit` failed; the reason is already in the job's FailureReason.
    """
    from train.sagemaker import fit_options

    try:
        with tempfile.TemporaryDirectory(prefix="fit-") as scratch:
            out = Path(scratch) / "run"
            args = _parsed(fit_options(job, out))
            status: int = args.run(args)
            shutil.copytree(out / "bundle", job.model, dirs_exist_ok=True)
            job.output.mkdir(parents=True, exist_ok=True)
            for name in _KEPT:
                shutil.copy(out / name, job.output)
    except Exception as error:
        job.fail(f"{type(error).__name__}: {error}")
        raise
    return status


def _parsed(options: Sequence[str]) -> argparse.Namespace:
    """Return the options as parsed by `fit`; convert its usage messages to an error."""
    parser = argparse.ArgumentParser()
    fit.add(parser.add_subparsers())
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser.parse_args(["fit", *options])
    except SystemExit as error:
        fault = said.getvalue().strip().rpartition("error: ")[2]
        raise SettingsFileError(f"hyperparameters: {fault}; see `python -m train fit --help`") from error
