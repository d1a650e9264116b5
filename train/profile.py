"""Reference profile: statistics of a model's own texts, stored in its bundle for drift checks.

The profile contains no text, and no text can be reconstructed from the counts. The embeddings are different:
each one belongs to one text, and with the model, some of its words can be inferred (Morris et al. 2023, Text
Embeddings Reveal (Almost) As Much As Text, arXiv:2310.06816). Keep a bundle as private as its texts.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from train.errors import DataError

if TYPE_CHECKING:
    from serve_app.model.classifier import Classifier
    from serve_app.model.scorer import EncodedText

PROFILE = "reference_profile.json"
EMBEDDINGS = "reference_embeddings.safetensors"
SAMPLE_TEXTS = 512
"""Number of stored embeddings: 512 x 384 float16 are 393 kB, and 512 against 512 show a shift of a fifth of a
standard deviation in one dimension."""

LENGTH_EDGES = (0, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024)
"""Edges of the histogram of token lengths: half powers of two, fixed so that versions can be compared. A bin
contains its lower edge and not its upper one; the last bin contains all longer texts."""

SCORE_BINS = 20
_BATCH_TEXTS = 32
_TENSOR = "embeddings"

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Share = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Histogram(_Frozen):
    """Counts between edges."""

    edges: tuple[float, ...] = Field(min_length=2, description="Edges of the bins, in ascending order.")
    counts: tuple[Annotated[int, Field(ge=0)], ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.edges) != len(self.counts) + 1 or list(self.edges) != sorted(set(self.edges)):
            raise ValueError("edges must ascend, and be one more than the counts")
        return self


class EmbeddingSample(_Frozen):
    """Description of the file of embeddings."""

    file: Literal["reference_embeddings.safetensors"] = "reference_embeddings.safetensors"
    texts: Annotated[int, Field(ge=1, le=SAMPLE_TEXTS)]
    size: Annotated[int, Field(ge=1)]


class ReferenceProfile(_Frozen):
    """Contents of `reference_profile.json`."""

    format: Literal[1] = 1
    labels: tuple[str, ...] = Field(min_length=2)
    texts: Annotated[int, Field(ge=1)]
    token_lengths: Histogram = Field(
        description="Number of tokens per text, after truncation, with special ones."
    )
    unknown_token: int | None = Field(description="Id of the tokenizer's unknown token; null: none.")
    unknown_token_rate: Share = Field(description="Fraction of unknown tokens.")
    source: Literal["held out", "traffic"] = Field(
        default="held out", description="Origin of the texts: held out of training, or logged by the service."
    )
    accuracy_set: str | None = Field(
        default=None,
        description="Set of the manifest's `held_out` that measures the accuracy on these texts. Null: all "
        "sets, or for traffic: the accuracy is unknown.",
    )
    true_shares: dict[str, Share] | None = Field(description="Fraction of each true label; null: no labels.")
    predicted_shares: dict[str, Share] = Field(description="Fraction of each predicted label.")
    top_scores: Histogram = Field(description="Scores of the predicted labels, after temperature scaling.")
    mean_scores: dict[str, Share] = Field(description="Mean score of each label over all texts.")
    embeddings: EmbeddingSample

    @model_validator(mode="after")
    def _counts_every_text(self) -> Self:
        for name in ("token_lengths", "top_scores"):
            if sum(getattr(self, name).counts) != self.texts:
                raise ValueError(f"{name} has {sum(getattr(self, name).counts)} texts; expected {self.texts}")
        for name in ("true_shares", "predicted_shares", "mean_scores"):
            shares = getattr(self, name)
            if shares is not None and set(shares) != set(self.labels):
                raise ValueError(f"{name} has the labels {sorted(shares)}; expected {list(self.labels)}")
        return self


def profile_texts(
    classifier: "Classifier",
    texts: Sequence[str],
    truth: Sequence[int],
    *,
    temperature: float,
    unknown_token: int | None,
) -> tuple[ReferenceProfile, Halves]:
    """Run a classifier over texts, and describe them as `build_profile` does.

    Args:
        classifier: Model of the bundle.
        texts: At least one training or held-out text.
        truth: Index of each text's label.
        temperature: Temperature of the bundle.
        unknown_token: Id `unk_token_id` of the tokenizer.

    Raises:
        InvalidBundleError: The model has no head whose input alone determines the logits.
    """
    encoded = classifier.preprocess(texts)
    logits, embeddings = ask(classifier, encoded)
    return build_profile(
        [text.ids for text in encoded],
        logits,
        embeddings,
        truth,
        labels=classifier.labels,
        temperature=temperature,
        unknown_token=unknown_token,
    )


def ask(classifier: "Classifier", encoded: Sequence["EncodedText"]) -> tuple[Floats, Floats]:
    """Return a model's logits and embeddings of at least one text, in order.

    Returns:
        logits: float32 (texts, labels), before temperature scaling.
        embeddings: float32 (texts, hidden), inputs of the classification head.

    Raises:
        InvalidBundleError: The model has no head whose input alone determines the logits.
    """
    logits, embeddings = [], []
    for begin in range(0, len(encoded), _BATCH_TEXTS):
        of_batch = classifier.logits_and_embeddings(encoded[begin : begin + _BATCH_TEXTS])
        logits.append(of_batch[0].float().cpu().numpy())
        embeddings.append(of_batch[1].float().cpu().numpy())
    return np.concatenate(logits), np.concatenate(embeddings)


def build_profile(
    token_ids: Sequence[Sequence[int]],
    logits: Floats,
    embeddings: Floats,
    truth: Sequence[int] | None,
    *,
    labels: Sequence[str],
    temperature: float,
    unknown_token: int | None,
    accuracy_set: str | None = None,
) -> tuple[ReferenceProfile, Halves]:
    """Describe texts by the model's inputs and outputs, independent of the order of the texts.

    Args:
        token_ids: Token ids of each text as the model reads them: with special tokens, cut to its limit.
        logits: float32 (texts, labels), before temperature scaling.
        embeddings: float32 (texts, hidden), inputs of the classification head.
        truth: Index of each text's label; None for traffic, which has no labels.
        labels: Labels in the order of the logits.
        temperature: Divisor of the logits.
        unknown_token: Id that counts as unknown; None if the tokenizer has none.
        accuracy_set: Name of the set whose held-out texts measure the accuracy on these texts.

    Returns:
        The profile, and the embeddings of the sample: float16 (at most 512, hidden).
    """
    scores = _softmax(logits.astype(np.float64) / temperature)
    lengths = np.array([len(ids) for ids in token_ids])
    unknown = sum(token == unknown_token for ids in token_ids for token in ids)
    sample = embeddings[sample_places(token_ids)].astype(np.float16)
    profile = ReferenceProfile(
        labels=tuple(labels),
        texts=len(token_ids),
        token_lengths=length_histogram(lengths),
        unknown_token=unknown_token,
        unknown_token_rate=unknown / int(lengths.sum()),
        source="held out" if truth is not None else "traffic",
        accuracy_set=accuracy_set,
        true_shares=_shares(np.asarray(truth), labels) if truth is not None else None,
        predicted_shares=_shares(scores.argmax(axis=1), labels),
        top_scores=score_histogram(scores.max(axis=1)),
        mean_scores=dict(zip(labels, scores.mean(axis=0).round(6).tolist(), strict=True)),
        embeddings=EmbeddingSample(texts=len(sample), size=sample.shape[1]),
    )
    return profile, sample


def length_histogram(lengths: npt.NDArray[np.int64]) -> Histogram:
    """Return the texts by number of tokens, between `LENGTH_EDGES`; the last bin has all longer texts."""
    places = np.searchsorted(LENGTH_EDGES[1:-1], lengths, side="right")
    counts = np.bincount(places, minlength=len(LENGTH_EDGES) - 1)
    return Histogram(edges=LENGTH_EDGES, counts=tuple(counts.tolist()))


def score_histogram(top_scores: npt.NDArray[np.float64]) -> Histogram:
    """Return the texts by score of the prediction, in 20 bins of equal width between 0 and 1."""
    counts, _ = np.histogram(top_scores, bins=SCORE_BINS, range=(0, 1))
    edges = tuple(i / SCORE_BINS for i in range(SCORE_BINS + 1))
    return Histogram(edges=edges, counts=tuple(counts.tolist()))


def sample_places(token_ids: Sequence[Sequence[int]], most: int = SAMPLE_TEXTS) -> list[int]:
    """Return the indices of the texts with the lowest SHA-256 of the token ids, for any order of texts."""
    keys = [hashlib.sha256(np.asarray(ids, dtype="<i8").tobytes()).digest() for ids in token_ids]
    return sorted(range(len(keys)), key=keys.__getitem__)[:most]


def write_profile(folder: Path, profile: ReferenceProfile, embeddings: npt.NDArray[Any]) -> str:
    """Write both files into a bundle's folder, before its manifest is written.

    Args:
        folder: Folder of the bundle.
        profile: Profile from `build_profile`.
        embeddings: Sample from `build_profile`: float (texts, hidden), stored as float16.

    Returns:
        File name of the profile, for the manifest's `reference_profile`.

    Raises:
        DataError: The embeddings do not match the profile, or are not finite as float16.
    """
    from safetensors.numpy import save_file

    halves = np.ascontiguousarray(embeddings, dtype=np.float16)
    _check(profile, halves, str(folder))
    save_file({_TENSOR: halves}, folder / EMBEDDINGS)
    (folder / PROFILE).write_text(profile.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return PROFILE


def read_profile(folder: Path) -> tuple[ReferenceProfile, Halves]:
    """Read both files.

    Raises:
        DataError: A file is missing, or was not written by `write_profile`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        profile = ReferenceProfile.model_validate_json((folder / PROFILE).read_bytes())
        halves = load_file(folder / EMBEDDINGS)[_TENSOR]
    except OSError as error:
        raise DataError(
            f"{folder} has no reference profile: {error}; `python -m train fit` writes one"
        ) from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the profile"
        raise DataError(f"{folder / PROFILE}: {where}: {fault['msg']}; train the model again") from error
    except (SafetensorError, KeyError) as error:
        raise DataError(f"{folder / EMBEDDINGS} has no embeddings: {error}; train the model again") from error
    _check(profile, halves, str(folder))
    return profile, halves


def _check(profile: ReferenceProfile, halves: Halves, where: str) -> None:
    expected = (profile.embeddings.texts, profile.embeddings.size)
    if halves.dtype != np.float16 or halves.shape != expected:
        raise DataError(
            f"{where}: the embeddings are {halves.dtype} {halves.shape}; expected float16 {expected} by the "
            "profile"
        )
    if not np.isfinite(halves).all():
        raise DataError(
            f"{where}: an embedding is not finite in float16: the model's activations are too large"
        )


def _softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: npt.NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return scores


def _shares(labels_of_texts: npt.NDArray[np.int64], labels: Sequence[str]) -> dict[str, float]:
    counts = np.bincount(labels_of_texts, minlength=len(labels))
    return {label: int(count) / len(labels_of_texts) for label, count in zip(labels, counts, strict=True)}
