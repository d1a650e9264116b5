"""Embeddings by the version's own model: computed for a window, read from the bundle for the reference."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from train.drift.mmd import Embedded
from train.profile import Halves, ask

if TYPE_CHECKING:
    from serve_app.model.classifier import Classifier


def embed_texts(classifier: "Classifier", texts: Sequence[str]) -> Embedded:
    """Compute the embeddings and predictions of at least one text.

    Raises:
        BundleInvalid: The model's head does not use the first token.
    """
    logits, embeddings = ask(classifier, classifier.preprocess(texts))
    return Embedded(embeddings, logits.argmax(axis=1))


def answered(classifier: "Classifier", embeddings: Halves) -> Embedded:
    """Return embeddings of a profile with the predictions that the model's head makes for them.

    Raises:
        BundleInvalid: The model's head does not use the first token.
    """
    import torch

    floats = embeddings.astype(np.float32)
    logits = classifier.logits_of_embeddings(torch.from_numpy(floats))
    return Embedded(floats, logits.argmax(dim=-1).cpu().numpy())
