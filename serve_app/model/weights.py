"""Which files hold weights, which of those are safe to open, and whether a set of them is whole."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from serve_app.errors import BundleInvalid, UnsafeArtifact

ADAPTER = "adapter_model.safetensors"
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_MAX_POINTER_BYTES = 1024  # by the Git LFS specification
_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5"})


def is_whole(names: Collection[str]) -> bool:
    """Whether the files include weights that need no base."""
    return WHOLE in names or INDEX in names


def is_pickle(name: str) -> bool:
    """Whether the file is of a type that can run code when it is opened."""
    return PurePosixPath(name).suffix.lower() in _PICKLE_SUFFIXES


def refuse_pickles(folder: Path, names: Iterable[str]) -> None:
    """Raise `UnsafeArtifact`, by name, if one of the files can run code when it is opened."""
    if pickles := sorted(filter(is_pickle, names)):
        raise UnsafeArtifact(
            f"{pickles[0]} in {folder} is of a type that can run code when it is opened; keep weights as "
            "safetensors (save_pretrained writes them) and remove it"
        )


def refuse_pointers(folder: Path, names: Iterable[str]) -> None:
    """Raise `BundleInvalid`, by name, if one of the files is a Git LFS pointer and not its content."""
    for name in names:
        path = folder / name
        if not path.is_file() or path.stat().st_size > _MAX_POINTER_BYTES:
            continue
        if path.read_bytes().startswith(b"version https://git-lfs"):
            raise BundleInvalid(
                f"{path} is a Git LFS pointer and not the file itself; run `git lfs pull` in the clone"
            )


def shards(folder: Path) -> frozenset[str]:
    """Names of the files that `model.safetensors.index.json` spreads the weights over.

    Raises:
        BundleInvalid: There is no index, or it cannot be read.
    """
    try:
        return frozenset(map(str, json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleInvalid(
            f"{folder / INDEX} is not an index of shards: {error!r}; save the model again"
        ) from error


def check_shards(folder: Path, names: Collection[str]) -> None:
    """Raise `BundleInvalid` if the shards' index is unreadable or names a file that is not among `names`."""
    if INDEX not in names:
        return
    if missing := sorted(shards(folder) - set(names)):
        raise BundleInvalid(
            f"{INDEX} in {folder} names {missing[0]!r}, which is not among the files; copy it again"
        )
