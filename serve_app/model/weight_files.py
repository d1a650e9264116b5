"""Weight files: their names, which types are safe to open, and whether a set of files is complete."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from serve_app.errors import InvalidBundleError, UnsafeArtifactError

ADAPTER = "adapter_model.safetensors"
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_MAX_POINTER_BYTES = 1024  # by the Git LFS specification
_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5"})


def is_whole(names: Collection[str]) -> bool:
    """Return whether the files include full weights, which need no base."""
    return WHOLE in names or INDEX in names


def is_pickle(name: str) -> bool:
    """Return whether a file of this type can run code when it is opened."""
    return PurePosixPath(name).suffix.lower() in _PICKLE_SUFFIXES


def refuse_pickles(folder: Path, names: Iterable[str]) -> None:
    """Raise `UnsafeArtifactError` with the file's name if one of the files can run code when it is opened."""
    if pickles := sorted(filter(is_pickle, names)):
        raise UnsafeArtifactError(
            f"{pickles[0]} in {folder} has a type that can run code when it is opened; save the weights as "
            "safetensors (with save_pretrained) and remove it"
        )


def refuse_pointers(folder: Path, names: Iterable[str]) -> None:
    """Raise `InvalidBundleError` with the file's name if one of the files is a Git LFS pointer."""
    for name in names:
        path = folder / name
        if not path.is_file() or path.stat().st_size > _MAX_POINTER_BYTES:
            continue
        if path.read_bytes().startswith(b"version https://git-lfs"):
            raise InvalidBundleError(
                f"{path} is a Git LFS pointer and not the file itself; run `git lfs pull` in the clone"
            )


def shards(folder: Path) -> frozenset[str]:
    """Return the names of the weight files that `model.safetensors.index.json` lists.

    Raises:
        InvalidBundleError: The index does not exist or cannot be read.
    """
    try:
        return frozenset(map(str, json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidBundleError(
            f"{folder / INDEX} is not a valid index of shards: {error!r}; save the model again"
        ) from error


def check_shards(folder: Path, names: Collection[str]) -> None:
    """Raise `InvalidBundleError` if the shards' index is unreadable or names a file not among `names`."""
    if INDEX not in names:
        return
    if missing := sorted(shards(folder) - set(names)):
        raise InvalidBundleError(
            f"{INDEX} in {folder} lists {missing[0]!r}, which is missing; copy the folder again"
        )
