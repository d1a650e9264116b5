"""Files of limits: TOML in which every key is required, read into a frozen model."""

import tomllib
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from train.errors import SettingsFileError

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Frozen(BaseModel):
    """Section of a file, which allows no other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Bounds = TypeVar("Bounds", bound=Frozen)


def read_bounds(kind: type[Bounds], path: Path, example: Path) -> Bounds:
    """Read a file.

    Args:
        kind: Model of the contents.
        path: Path of the file.
        example: File of this project with every key, named in error messages.

    Raises:
        SettingsFileError: The file is missing or not TOML, a key is missing or unknown, or a value is out of
            range.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsFileError(
            f"{path} cannot be read: {error.strerror}; start from {example.name}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsFileError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors()
        )
        raise SettingsFileError(f"{path}: {faults}; train/{example.name} has every key") from error
