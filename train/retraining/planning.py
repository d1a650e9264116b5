"""What a retraining is called and what it is told, from champion, window and texts. Pure."""

import hashlib
from collections.abc import Sequence

from serve_app.model.bundle import BundleManifest
from train.captured.reading import Window
from train.evaluation.document import Role
from train.registry import Version
from train.retraining.bounds import MixBounds
from train.settings import (
    DataSettings,
    FileSettings,
    FitSettings,
    OptimiserSettings,
    ProgressSettings,
    TrafficSettings,
)

FEEDBACK = "feedback-"
"""How the names of sets begin that were made from feedback; the version follows."""
AUDIT = "audit-"
"""How those begin that are the audit sample of the same traffic."""

_MAX_LENGTH = 512
"""Where the champion's bundle names none."""
_LOOKS = ProgressSettings(evaluations=2, sample_texts=60, sample_tokens=128)


def version_name(champion: Version, window: Window, log: str) -> str:
    """The same window, champion and log give the same name: the window's end, and a hash of all of them."""
    said = f"{champion}\n{champion.digest}\n{window.since.isoformat()}\n{window.until.isoformat()}\n{log}"
    return f"{window.until:%Y%m%dT%H%M%S}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def roles_of(settings: FitSettings, *, complete: bool) -> dict[str, Role]:
    """Which sets are no plain random samples: feedback, unless every text has it, and the audit sample."""
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
    """The run that goes on from the champion.

    Args:
        champion: In the registry.
        manifest: Its bundle's.
        version: The name of what is to be made.
        feedback: Where the texts with feedback lie: an absolute path, or an address.
        old: The champion's sets, as they are to be shown again.
        held_back: Sets that the champion was never trained on, to be measured by; files absolute.
        traffic: Path of a sample of the texts that the version will answer, if there is one.
        audit: Where the audit sample lies, if there is one; nothing is learned from it.
        complete: Whether every text of the window has feedback.
        mix: How it learns.
    """
    adapter = manifest.base is not None
    # Feedback alone is a selection of the texts, and says nothing of the accuracy on all of them.
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
