"""Replay of earlier texts: the sets that the champion was trained on, and how often they are used again."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from train.datasets.files import absolute, join, list_files, open_filesystem
from train.datasets.splits import training_labels
from train.errors import DataError, RegistryRequestError
from train.registry import Registry, Version
from train.registry.run_metadata import REPORT
from train.settings import DataSettings, FileSettings, FitSettings, settings_of


def champion_run(registry: Registry, champion: Version) -> tuple[FitSettings, str]:
    """Return the settings that made a version, and the root of its texts, from its report in the registry.

    Raises:
        RegistryRequestError: The registry has no report of it, as for imported models.
    """
    reports = [file for file in registry.files(champion) if file.rsplit("/", 1)[-1] == REPORT]
    if not reports:
        raise RegistryRequestError(
            f"the registry has no {REPORT} of {champion}, which lists its training texts; set --replay "
            "SETTINGS.toml --data DATA_DIR to name them, or --no-replay to train on feedback alone"
        )
    report = _read_json(reports[0])
    return settings_of(report["settings"], where=f"the report of {champion}"), str(report["data_location"])


def located(source: FileSettings, root: str) -> str:
    """Return the absolute path or URI of a set's file."""
    return absolute(join(root, source.file))


def old_sets(sets: Sequence[DataSettings], root: str) -> list[DataSettings]:
    """Return the champion's sets for a retraining, in which all texts are used equally often.

    A set keeps its split, so that no held-out text was ever trained on. Sets without labels of their own are
    excluded.

    Args:
        sets: Sets that the champion was trained on.
        root: Path or URI of the sets.
    """
    changes = {"passes": 1.0, "long_passes": 0.0, "balance": False, "teacher_weight": 0.0}
    return [
        of_set.model_copy(update={**changes, "file": located(of_set, root)})
        for of_set in sets
        if of_set.teacher_weight < 1.0
    ]


def with_replay(settings: FitSettings, replay: float, *, most_passes: float) -> FitSettings:
    """Return the settings with the passes over the old sets that use `replay` old texts per new one.

    Only trained texts are counted: not those that are held out, in a test set, or duplicates.

    Args:
        settings: Settings of the run; the first set is the feedback, the others are the old ones.
        replay: Number of old texts per new one, with repetitions; with 0, the old sets are removed.
        most_passes: Maximum number of passes over each old set.

    Raises:
        DataError: An old set is missing.
    """
    new, *old = settings.data
    for of_set in old:
        try:
            list_files(of_set.file)
        except DataError as error:
            raise DataError(
                f"the earlier training texts of {of_set.name!r} cannot be read for the replay: {error}; set "
                "their location with --replay SETTINGS.toml --data DIR"
            ) from error
    labels = training_labels(settings, "")
    counts = np.unique(labels[new.name], return_counts=True)[1]
    num_replay_samples = replay * len(counts) * round(new.passes * counts.min())
    passes = min(most_passes, num_replay_samples / max(1, sum(len(labels[of_set.name]) for of_set in old)))
    shown = [of_set.model_copy(update={"passes": passes}) for of_set in old if passes > 0]
    return settings.model_copy(update={"data": (new, *shown)})


def _read_json(address: str) -> dict[str, Any]:
    path_of = url2pathname(urlsplit(address).path) if address.startswith("file:") else address
    system, path = open_filesystem(path_of)
    with system.open_input_stream(path) as stream:
        content: dict[str, Any] = json.loads(stream.read())
    return content
