"""Texts as the version's own model sees them: a window's anew, the reference's from its bundle."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from train.drift.mmd import Embedded
from train.profile import Halves, ask

if TYPE_CHECKING:
    from serve_app.model.classifier import Classifier


def embed_texts(classifier: "Classifier", texts: Sequence[str]) -> Embedded:
    """Run the model over texts, at least one.

    Raises:
        BundleInvalid: The model's head does not read a first token.
    """
    logits, embeddings = ask(classifier, classifier.preprocess(texts))
    return Embedded(embeddings, logits.argmax(axis=1))


def answered(classifier: "Classifier", embeddings: Halves) -> Embedded:
    """Embeddings of a profile, with what the model's head answers to them.

    Raises:
        BundleInvalid: The model's head does not read a first token.
    """
    import torch

    floats = embeddings.astype(np.float32)
    logits = classifier.logits_of_embeddings(torch.from_numpy(floats))
    return Embedded(floats, logits.argmax(dim=-1).cpu().numpy())
