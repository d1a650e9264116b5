"""Canaries with one fault each, made from the built-in model; the service contains no support for them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from examples.canary_rollout.models import TEXTS, version_of_builtin
from serve_app.model import lora, resolver
from serve_app.model.bundle import read_manifest, rewrite_manifest, write_manifest
from serve_app.model.classifier import Classifier
from serve_app.model.weight_files import ADAPTER
from train.model_uri import CACHE

WIDER = 11
"""Factor by which the slow model's feed-forward layers are wider; `slowness` measures the effect."""


def does_not_load(folder: Path) -> str:
    """Create a bundle whose configuration has one layer more than its weights; every digest is correct."""
    uri = version_of_builtin(folder, folder.name)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 7}))
    rewrite_manifest(folder, read_manifest(folder))
    return uri


def other_digest(folder: Path) -> str:
    """Create a bundle in which one byte of the weights was changed after the manifest was written."""
    uri = version_of_builtin(folder, folder.name)
    with (folder / ADAPTER).open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    return uri


def one_label(folder: Path) -> str:
    """Create a bundle whose head's bias gives POSITIVE for every text."""
    uri = version_of_builtin(folder, folder.name)
    adapter = load_file(folder / ADAPTER)
    [bias] = [name for name in adapter if name.endswith("classifier.bias")]
    adapter[bias] = torch.tensor([-20.0, 20.0])
    save_file(adapter, folder / ADAPTER)
    rewrite_manifest(folder, read_manifest(folder))
    return uri


def raises(folder: Path) -> str:
    """Create a bundle that computes no number for the rarest word of the texts.

    The embedding of this word is too large to be squared.
    """
    model, tokenizer = _merged()
    word = max(id_ for text in TEXTS for id_ in tokenizer(text)["input_ids"])
    state = dict(model.state_dict())
    embeddings = "bert.embeddings.word_embeddings.weight"
    state[embeddings] = state[embeddings].clone()
    state[embeddings][word] = 1e30
    return _save(folder, state, tokenizer)


def slow(folder: Path) -> str:
    """Create a bundle with wider feed-forward layers whose additional units add nothing.

    It gives the same answers for more work.
    """
    model, tokenizer = _merged()
    width = model.config.intermediate_size
    state = dict(model.state_dict())
    for name, weight in state.items():
        if ".intermediate.dense." in name:  # (width, hidden) and (width,)
            state[name] = torch.cat([weight, *(WIDER - 1) * [torch.zeros_like(weight)]])
        elif name.endswith(".output.dense.weight") and weight.shape[1] == width:  # (hidden, width)
            state[name] = torch.cat([weight, *(WIDER - 1) * [torch.zeros_like(weight)]], dim=1)
    return _save(folder, state, tokenizer, intermediate_size=WIDER * width)


def good(folder: Path) -> str:
    """Create a bundle without a fault."""
    return version_of_builtin(folder, folder.name, temperature=1.0)


CANARIES: Mapping[str, Callable[[Path], str]] = {
    "does-not-load": does_not_load,
    "other-digest": other_digest,
    "raises": raises,
    "slow": slow,
    "one-label": one_label,
    "good": good,
}
"""Functions that create the bundles, by the version that the bundle reports."""


def slowness(slow_uri: str, good_uri: str) -> float:
    """Return the slow model's median forward time divided by the good one's.

    Both run one text at a time in one thread, in turns.
    """
    found = [Classifier(resolver.fetch(uri, cache_dir=CACHE), threads=1) for uri in (slow_uri, good_uri)]
    seconds: tuple[list[float], list[float]] = ([], [])
    for text in TEXTS:
        for classifier, taken in zip(found, seconds, strict=True):
            batch = classifier.preprocess([text])
            began = time.perf_counter()
            classifier.forward(batch)
            taken.append(time.perf_counter() - began)
    return statistics.median(seconds[0]) / statistics.median(seconds[1])


def _merged() -> tuple[Any, Any]:
    """Return the built-in model with its adapter merged, and its tokenizer."""
    bundle = resolver.fetch("builtin:", cache_dir=CACHE)
    transformers_logging.set_verbosity_error()  # the base model has no head yet and would print a warning
    model = AutoModelForSequenceClassification.from_pretrained(
        bundle.base_folder, config=AutoConfig.from_pretrained(bundle.folder), dtype=torch.float32
    )
    lora.merge(model, bundle.folder)
    return model, AutoTokenizer.from_pretrained(bundle.base_folder)


def _save(folder: Path, state: Mapping[str, Tensor], tokenizer: Any, **changes: int) -> str:
    """Save a bundle of complete weights with the built-in model's configuration except for some sizes."""
    manifest = resolver.fetch("builtin:", cache_dir=CACHE).manifest
    config = AutoConfig.from_pretrained(resolver.fetch("builtin:", cache_dir=CACHE).folder, **changes)
    model = AutoModelForSequenceClassification.from_config(config)
    model.load_state_dict(state)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(
        folder,
        name=manifest.name,
        version=folder.name,
        labels=manifest.labels,
        max_length=manifest.max_length,
        temperature=manifest.temperature,
    )
    return str(folder)
