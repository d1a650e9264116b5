"""Measured throughput of a pod, from the report of `python -m loadtest slo --json`."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from cluster.cost.arithmetic import Rate
from cluster.errors import CostInputError


class _Report(BaseModel):
    """Fields of the report that are used."""

    scenario: Literal["slo"]
    passed: bool
    reasons: list[str]
    started_at: str
    host: str
    pods: Annotated[int, Field(ge=1)]
    answered_per_minute_per_pod: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    tokens_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]


def measured_rate(path: Path) -> Rate:
    """Return the throughput of a pod in a load test that met the SLO.

    Raises:
        CostInputError: The file does not exist or is not a report, or the load test did not meet the SLO.
    """
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CostInputError(
            f"{path}: {error.strerror}; create it with `python -m loadtest slo --json {path}`"
        ) from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise CostInputError(f"{path} is not a report of `loadtest slo`: {place}: {fault['msg']}") from error
    if not report.passed:
        raise CostInputError(
            f"{path}: the load test did not meet the SLO ({'; '.join(report.reasons) or 'no reason given'}), "
            "so its rate cannot be used; measure a lower rate with `python -m loadtest slo --per-minute`"
        )
    return Rate(
        requests_per_minute=Decimal(str(report.answered_per_minute_per_pod)),
        tokens_per_s=Decimal(str(report.tokens_per_s)) / report.pods,
        measured_by=f"load test of {report.host}, {report.started_at}",
    )
