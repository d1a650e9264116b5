"""Reference of a version, read from its bundle: statistics of its texts, and its accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.model.bundle import BundleManifest
from train.errors import DataError
from train.profile import Halves, ReferenceProfile, read_profile


@dataclass(frozen=True, slots=True)
class DriftReference:
    """Reference of one version."""

    name: str
    version: str
    profile: ReferenceProfile
    embeddings: Halves
    """Inputs of the classification head for a sample of its texts: float16 (at most 512, hidden)."""
    right: int = 0
    """Number of held-out texts with a correct prediction."""
    judged: int = 0
    """Number of held-out texts; 0 if no text was held out, so that the accuracy is unknown."""

    @property
    def accuracy(self) -> float | None:
        """Return the accuracy on texts held out of training, 0..1."""
        return self.right / self.judged if self.judged else None


def read_reference(manifest: BundleManifest, folder: Path) -> DriftReference:
    """Read the reference of a bundle.

    Raises:
        DataError: The bundle has no profile, or a damaged one.
    """
    if manifest.reference_profile is None:
        raise DataError(
            f"{manifest.name} {manifest.version} has no reference profile for drift checks; "
            "`python -m train fit` writes one into the bundle"
        )
    profile, embeddings = read_profile(folder)
    right, judged = _held_out(manifest.metrics, profile)
    return DriftReference(manifest.name, manifest.version, profile, embeddings, right, judged)


def _held_out(metrics: Mapping[str, Any], profile: ReferenceProfile) -> tuple[int, int]:
    """Return the correct predictions and the number of the held-out texts that the profile describes."""
    everything = profile.source == "held out" and profile.accuracy_set is None
    held_out = metrics.get("held_out") or {}
    sets = [of_set for name, of_set in held_out.items() if everything or name == profile.accuracy_set]
    right = sum(round(of_set["accuracy"] * of_set["texts"]) for of_set in sets)
    return right, sum(of_set["texts"] for of_set in sets)
