"""Preflight check before the first step: the result of a run can be served with the trained model's logits.

The result is built with random updates, written, loaded in the same way as by a replica, and run. A base
whose result could not be served is refused before any data is read.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from serve_app.errors import BundleError
from serve_app.model.acceptance import plain_logits
from serve_app.model.bundle import write_manifest
from serve_app.model.classifier import Classifier
from serve_app.model.padding import Padding
from serve_app.model.resolver import fetch
from serve_app.model.scorer import EncodedText
from train.base_model import Base, load_tokenizer
from train.errors import BaseModelError
from train.model_uri import CACHE
from train.profile import ask
from train.settings import FitSettings
from train.training.model import build, write_product

_TEXTS = ("I had a good day at work, and the food was great.", "The room was clean.", "No.")
_UPDATE = 0.02
"""Standard deviation of the random updates."""
_TOLERANCE = 0.02
"""Maximum difference of logits, as a fraction of the largest (at least 1). Adapters are stored in float16 (11
bits of mantissa); a part that is missing or merged incorrectly differs by more."""


@dataclass(frozen=True, slots=True)
class ServedInput:
    """Properties of the service's model input, which the training uses too."""

    padding: Padding
    max_tokens: int
    """Length in tokens to which a text is cut, including special tokens."""


def check_base(base: Base, settings: FitSettings, folder: Path) -> ServedInput:
    """Check a base, and return the properties of the service's input for its result.

    Args:
        base: Base model of the run.
        settings: Settings of the run.
        folder: Existing folder, in which the result is written to a temporary subfolder.

    Raises:
        BaseModelError: The result cannot be loaded or run, or its logits differ from the trained model's.
        SettingsFileError: As for `build`.
    """
    try:
        with TemporaryDirectory(prefix=".check-", dir=folder) as draft:
            return _check(base, settings, Path(draft))
    except BundleError as error:
        raise BaseModelError(
            f"the base {settings.base!r} cannot be trained with --method {settings.method}: the service "
            f"could not load the result: {error}"
        ) from error


def _check(base: Base, settings: FitSettings, bundle: Path) -> ServedInput:
    trained = build(base, settings)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in trained.trained.values():
            weight.add_(torch.randn(weight.shape, generator=random) * _UPDATE)
    model = trained.model.eval()
    tokenizer = load_tokenizer(base)
    encoded = [tokenizer.backend_tokenizer.encode(text).ids for text in _TEXTS]
    expected = plain_logits(model, encoded, settings.base).float().numpy()

    write_product(trained, base, settings, tokenizer, bundle)
    write_manifest(
        bundle,
        name=settings.name,
        version=settings.version,
        labels=settings.labels,
        base=base.reference if trained.as_adapter else None,
        max_length=settings.max_length,
    )
    classifier = Classifier(fetch(str(bundle.resolve()), cache_dir=CACHE), device="cpu", dtype="float32")
    logits, _ = ask(classifier, [EncodedText(ids, truncated=False) for ids in encoded])
    classifier.close()
    if classifier.activation != "softmax":
        raise BaseModelError(
            f"the base {settings.base!r} gives {classifier.activation} scores; expected softmax: use a "
            "single-label model"
        )
    difference = float(np.abs(logits - expected).max())
    if difference > _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise BaseModelError(
            f"the base {settings.base!r} cannot be trained with --method {settings.method}: the logits of "
            f"the written model differ from the trained one's by {difference:.3g}; use the other method"
        )
    return ServedInput(classifier.padding, classifier.max_length)
