"""Price books: dated prices with their sources from a TOML file, as exact decimals."""

import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from cluster.errors import CostInputError
from cluster.nodes import CPU_TYPES, INSTANCE_TYPES

PRICES = Path(__file__).with_name("prices.toml")
Money = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class Book(BaseModel):
    """Price book: prices of one source on one day, in US dollars.

    Attributes:
        title: Name of the prices.
        dated: Day of the prices.
        source: Where the prices are from.
        month_hours: Hours per month of this source.
        hourly: Prices of GPU nodes per hour.
        monthly: Prices of GPU nodes per month.
        cpu_hourly: Prices of nodes without a GPU per hour.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    dated: date
    source: str
    month_hours: Annotated[int, Field(ge=672, le=744, description="Hours per month of this source.")]
    hourly: dict[str, Money] = {}
    monthly: dict[str, Money] = {}
    cpu_hourly: dict[str, Money] = {}

    @model_validator(mode="after")
    def _names_known_types(self) -> Self:
        for name in (*self.hourly, *self.monthly):
            if name not in INSTANCE_TYPES:
                raise ValueError(f"{name!r} is not known; expected one of {', '.join(INSTANCE_TYPES)}")
        for name in self.cpu_hourly:
            if name not in CPU_TYPES:
                raise ValueError(f"{name!r} is not known; expected one of {', '.join(CPU_TYPES)}")
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

    def month_of(self, mix: Mapping[str, int]) -> Decimal:
        """Return the price of a mix of nodes, a number by type, in US dollars per month; see `month`."""
        return sum((self.month(name) * count for name, count in mix.items()), Decimal(0))

    def hour_of(self, mix: Mapping[str, int]) -> Decimal:
        """Return the price of a mix of nodes, a number by type, in US dollars per hour; see `hour`."""
        return sum((self.hour(name) * count for name, count in mix.items()), Decimal(0))


class _DerivedBook(BaseModel):
    """Price book with the prices of another one less a discount."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    dated: date
    source: str
    based_on: str
    discount: Annotated[Decimal, Field(gt=0, lt=1, description="Fraction of the price.")]

    def of(self, base: Book) -> Book:
        """Return the book with its prices."""
        share = 1 - self.discount
        return Book(
            title=self.title,
            dated=self.dated,
            source=self.source,
            month_hours=base.month_hours,
            hourly={name: price * share for name, price in base.hourly.items()},
            monthly={name: price * share for name, price in base.monthly.items()},
            cpu_hourly={name: price * share for name, price in base.cpu_hourly.items()},
        )


def _kind(book: object) -> str:
    """Return the kind of a book: `based_on` distinguishes the two."""
    return "derived" if isinstance(book, dict) and "based_on" in book else "own"


_KIND = Discriminator(_kind)
_OwnBook = Annotated[Book, Tag("own")]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    books: dict[str, Annotated[_OwnBook | Annotated[_DerivedBook, Tag("derived")], _KIND]]

    @model_validator(mode="after")
    def _bases_exist(self) -> Self:
        for name, book in self.books.items():
            if isinstance(book, _DerivedBook) and not isinstance(self.books.get(book.based_on), Book):
                raise ValueError(f"{name!r} is based on {book.based_on!r}, expected a book with prices")
        return self

    def read(self) -> Mapping[str, Book]:
        """Return all books with their prices."""
        plain = {name: book for name, book in self.books.items() if isinstance(book, Book)}
        return {
            name: book.of(plain[book.based_on]) if isinstance(book, _DerivedBook) else book
            for name, book in self.books.items()
        }


def read_books(path: Path = PRICES) -> Mapping[str, Book]:
    """Return the price books of a file by name.

    Raises:
        CostInputError: The file does not exist or is not TOML, or has an unknown key or an invalid price.
    """
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).read()
    except OSError as error:
        raise CostInputError(f"{path}: {error.strerror}; see {PRICES} for an example") from error
    except tomllib.TOMLDecodeError as error:
        raise CostInputError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{_location(fault['loc'])}: {fault['msg']}" for fault in error.errors())
        raise CostInputError(f"{path}: {faults}; see {PRICES} for an example") from error


def _location(parts: Iterable[int | str]) -> str:
    """Return the location of a fault, without the kind of a book."""
    return ".".join(str(part) for part in parts if part not in ("own", "derived"))
