"""Name and settings of a retraining, from champion, window and texts, without side effects."""

import hashlib
from collections.abc import Sequence

from serve_app.model.bundle import BundleManifest
from train.evaluation.results import Role
from train.prediction_log.reader import Window
from train.registry import Version
from train.retraining.config import MixBounds
from train.settings import (
    DataSettings,
    FileSettings,
    FitSettings,
    OptimiserSettings,
    ProgressSettings,
    TrafficSettings,
)

FEEDBACK = "feedback-"
"""Prefix of the names of sets of feedback; the version follows."""
AUDIT = "audit-"
"""Prefix of the names of sets of the audit sample of the same traffic."""

_MAX_LENGTH = 512
"""Maximum length in tokens if the champion's bundle has none."""
_LOOKS = ProgressSettings(evaluations=2, sample_texts=60, sample_tokens=128)


def version_name(champion: Version, window: Window, log: str) -> str:
    """Return a name of the window's end and a hash of window, champion and log; it is deterministic."""
    said = f"{champion}\n{champion.digest}\n{window.since.isoformat()}\n{window.until.isoformat()}\n{log}"
    return f"{window.until:%Y%m%dT%H%M%S}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def roles_of(settings: FitSettings, *, complete: bool) -> dict[str, Role]:
    """Return the roles of sets that are not random samples: the audit sample, and incomplete feedback."""
    roles: dict[str, Role] = {of.name: "feedback" for of in settings.data if of.name.startswith(FEEDBACK)}
    if complete:
        del roles[f"{FEEDBACK}{settings.version}"]
    return roles | {of.name: "audit" for of in settings.validation if of.name.startswith(AUDIT)}


def settings_for(
    champion: Version,
    manifest: BundleManifest,
    version: str,
    *,
    feedback: str,
    old: Sequence[DataSettings],
    held_back: Sequence[FileSettings],
    traffic: str | None,
    audit: str | None,
    complete: bool,
    mix: MixBounds,
) -> FitSettings:
    """Return the settings of a training run that starts from the champion.

    Args:
        champion: Version of the champion in the registry.
        manifest: Manifest of its bundle.
        version: Name of the new version.
        feedback: Absolute path or URI of the texts with feedback.
        old: Sets of the champion for the replay.
        held_back: Sets that the champion was never trained on, for the evaluation; their files are absolute.
        traffic: Path of a sample of the texts that the version will classify, if any.
        audit: Path or URI of the audit sample, if any; it is not used for training.
        complete: Whether every text of the window has feedback.
        mix: Training data mix.
    """
    adapter = manifest.base is not None
    # Feedback alone is a biased selection, from which the accuracy on all texts cannot be estimated.
    accuracy_set = f"{AUDIT}{version}" if audit else f"{FEEDBACK}{version}" if complete else None
    return FitSettings(
        name=champion.name,
        version=version,
        base=champion.uri,
        labels=manifest.labels,
        method="lora" if adapter else "full",
        max_length=manifest.max_length or _MAX_LENGTH,
        data=(
            DataSettings(
                name=f"{FEEDBACK}{version}",
                file=feedback,
                held_out=mix.held_out,
                passes=mix.passes,
                balance=True,
            ),
            *old,
        ),
        test=tuple(held_back),
        validation=(FileSettings(name=f"{AUDIT}{version}", file=audit),) if audit else (),
        traffic=TrafficSettings(file=traffic, accuracy_set=accuracy_set) if traffic else None,
        optimiser=OptimiserSettings(learning_rate=mix.learning_rate if adapter else mix.full_learning_rate),
        progress=_LOOKS,
    )
