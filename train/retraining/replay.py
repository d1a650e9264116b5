"""The old texts: which sets the champion learned from, and how often a retraining shows them again."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from train.errors import DataInvalid, RegistryRefused
from train.registry import Registry, Version
from train.registry.evidence import REPORT
from train.settings import DataSettings, FileSettings, FitSettings, settings_of
from train.texts.files import absolute, join, list_files, open_filesystem
from train.texts.reading import read_file


def champion_run(registry: Registry, champion: Version) -> tuple[FitSettings, str]:
    """The settings that made a version, and where its texts were, from its report in the registry.

    Raises:
        RegistryRefused: The registry keeps no report of it, as of imported models.
    """
    reports = [file for file in registry.files(champion) if file.rsplit("/", 1)[-1] == REPORT]
    if not reports:
        raise RegistryRefused(
            f"the registry keeps no report of {champion} that says what it learned from; name the old texts "
            "with --replay SETTINGS.toml --data DATA_DIR, or give --no-replay to learn from feedback alone"
        )
    report = _read_json(reports[0])
    return settings_of(report["settings"], where=f"the report of {champion}"), str(report["data_location"])


def located(source: FileSettings, root: str) -> str:
    """The absolute address of a set's file."""
    return absolute(join(root, source.file))


def replayed(
    sets: Sequence[DataSettings], labels: Sequence[str], root: str, *, showings: float, most_passes: float
) -> list[DataSettings]:
    """The old sets, to be shown so often in all.

    Every text is as likely as every other; a set stays divided as it was, so that nothing
    of what is held out was ever trained on.

    Args:
        sets: What the champion trained on.
        labels: Of the model.
        root: Where the sets lie.
        showings: Of all of them together.
        most_passes: Of each, however few they are.

    Raises:
        DataInvalid: A set is not where it was.
    """
    labelled = [
        of_set for of_set in sets if of_set.teacher_weight < 1.0
    ]  # others have no labels of their own
    texts = sum(_count(of_set, labels, root) for of_set in labelled)
    changes = {
        "passes": min(most_passes, showings / max(texts, 1)),
        "long_passes": 0.0,
        "balance": False,
        "teacher_weight": 0.0,
    }
    return [of_set.model_copy(update={**changes, "file": located(of_set, root)}) for of_set in labelled]


def _count(of_set: DataSettings, labels: Sequence[str], root: str) -> int:
    try:
        files = list_files(located(of_set, root))
    except DataInvalid as error:
        raise DataInvalid(
            f"the old texts of {of_set.name!r} are to be shown again, but {error}; name where they are with "
            "--replay SETTINGS.toml --data DATA_DIR"
        ) from error
    return sum(len(batch) for file in files for batch in read_file(file, of_set, labels))


def _read_json(address: str) -> dict[str, Any]:
    path_of = url2pathname(urlsplit(address).path) if address.startswith("file:") else address
    system, path = open_filesystem(path_of)
    with system.open_input_stream(path) as stream:
        found: dict[str, Any] = json.loads(stream.read())
    return found
