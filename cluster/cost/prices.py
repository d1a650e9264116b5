"""The price book: dated, sourced prices from a TOML file, as exact decimals."""

import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.errors import PricesInvalid
from cluster.nodes import INSTANCE_TYPES

PRICES = Path(__file__).with_name("prices.toml")
Money = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class Book(BaseModel):
    """Prices of one source on one day, in US dollars."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    dated: date
    source: str
    month_hours: Annotated[int, Field(ge=672, le=744, description="Hours that this source counts a month.")]
    hourly: dict[str, Money] = {}
    monthly: dict[str, Money] = {}

    @model_validator(mode="after")
    def _names_known_types(self) -> Self:
        for name in (*self.hourly, *self.monthly):
            if name not in INSTANCE_TYPES:
                raise ValueError(f"{name!r} is none of {', '.join(INSTANCE_TYPES)}")
        if twice := set(self.hourly) & set(self.monthly):
            raise ValueError(f"{sorted(twice)[0]!r} has an hourly and a monthly price; give one")
        return self

    @property
    def types(self) -> tuple[str, ...]:
        """Instance types that have a price here."""
        return tuple(sorted({*self.hourly, *self.monthly}))

    def month(self, name: str) -> Decimal:
        """Dollars a month of one node.

        Raises:
            PricesInvalid: it has no price here.
        """
        if name in self.monthly:
            return self.monthly[name]
        if name in self.hourly:
            return self.hourly[name] * self.month_hours
        raise PricesInvalid(f"{self.title} has no price for {name!r}; it has {', '.join(self.types)}")

    def hour(self, name: str) -> Decimal:
        """Dollars an hour of one node.

        Raises:
            PricesInvalid: it has no price here.
        """
        return self.hourly.get(name) or self.month(name) / self.month_hours


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    books: dict[str, Book]


def read_books(path: Path = PRICES) -> Mapping[str, Book]:
    """Every book of a file, by name.

    Raises:
        PricesInvalid: no such file, not TOML, an unknown key, or a price that is none.
    """
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).books
    except OSError as error:
        raise PricesInvalid(f"{path}: {error.strerror}; see {PRICES} for the shape") from error
    except tomllib.TOMLDecodeError as error:
        raise PricesInvalid(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        raise PricesInvalid(f"{path}: {faults}; see {PRICES} for the shape") from error
