"""Price books: dated prices with their sources from a TOML file, as exact decimals."""

import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.errors import CostInputError
from cluster.nodes import INSTANCE_TYPES

PRICES = Path(__file__).with_name("prices.toml")
Money = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class Book(BaseModel):
    """Price book: prices of one source on one day, in US dollars."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    dated: date
    source: str
    month_hours: Annotated[int, Field(ge=672, le=744, description="Hours per month of this source.")]
    hourly: dict[str, Money] = {}
    monthly: dict[str, Money] = {}

    @model_validator(mode="after")
    def _names_known_types(self) -> Self:
        for name in (*self.hourly, *self.monthly):
            if name not in INSTANCE_TYPES:
                raise ValueError(f"{name!r} is not known; expected one of {', '.join(INSTANCE_TYPES)}")
        if twice := set(self.hourly) & set(self.monthly):
            raise ValueError(f"{sorted(twice)[0]!r} has an hourly and a monthly price; expected one of them")
        return self

    @property
    def types(self) -> tuple[str, ...]:
        """Instance types with a price in this book."""
        return tuple(sorted({*self.hourly, *self.monthly}))

    def month(self, name: str) -> Decimal:
        """Return the price of one node in US dollars per month.

        Raises:
            CostInputError: The type has no price in this book.
        """
        if name in self.monthly:
            return self.monthly[name]
        if name in self.hourly:
            return self.hourly[name] * self.month_hours
        raise CostInputError(f"{self.title} has no price for {name!r}; it has {', '.join(self.types)}")

    def hour(self, name: str) -> Decimal:
        """Return the price of one node in US dollars per hour.

        Raises:
            CostInputError: The type has no price in this book.
        """
        return self.hourly.get(name) or self.month(name) / self.month_hours


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    books: dict[str, Book]


def read_books(path: Path = PRICES) -> Mapping[str, Book]:
    """Return the price books of a file by name.

    Raises:
        CostInputError: The file does not exist or is not TOML, or has an unknown key or an invalid price.
    """
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).books
    except OSError as error:
        raise CostInputError(f"{path}: {error.strerror}; see {PRICES} for an example") from error
    except tomllib.TOMLDecodeError as error:
        raise CostInputError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        raise CostInputError(f"{path}: {faults}; see {PRICES} for an example") from error
