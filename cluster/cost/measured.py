"""A pod's rate as a load test measured it: reads the report of `python -m loadtest slo --json`."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from cluster.cost.arithmetic import Rate
from cluster.errors import PricesInvalid


class _Report(BaseModel):
    """The parts of the report that are read; it has more."""

    scenario: Literal["slo"]
    passed: bool
    reasons: list[str]
    started_at: str
    host: str
    pods: Annotated[int, Field(ge=1)]
    answered_per_minute_per_pod: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    tokens_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]


def measured_rate(path: Path) -> Rate:
    """What a pod carried in a load test that kept the promise.

    Raises:
        PricesInvalid: no such file, not such a report, or the promise was broken: nothing to plan with.
    """
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PricesInvalid(
            f"{path}: {error.strerror}; write one with `python -m loadtest slo --json {path}`"
        ) from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise PricesInvalid(f"{path} is not a report of `loadtest slo`: {place}: {fault['msg']}") from error
    if not report.passed:
        raise PricesInvalid(
            f"{path}: the promise was broken ({'; '.join(report.reasons) or 'no reason given'}), so this "
            "rate is none to plan with; measure a lower one with `python -m loadtest slo --per-minute`"
        )
    return Rate(
        requests_per_minute=Decimal(str(report.answered_per_minute_per_pod)),
        tokens_per_s=Decimal(str(report.tokens_per_s)) / report.pods,
        measured_by=f"load test of {report.host}, {report.started_at}",
    )
