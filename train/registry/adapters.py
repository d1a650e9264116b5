"""A PEFT adapter as `save_pretrained` writes it, made a bundle together with its base.

Such a folder holds no `config.json` and does not say which files its base has; both come from the base.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from serve_app.errors import BundleInvalid
from serve_app.model import weights
from serve_app.model.bundle import MANIFEST, BundleManifest, write_manifest
from serve_app.model.digests import sha256_files, visible_files
from serve_app.model.plain import slug
from train.base import find_base
from train.errors import RegistryRefused

_KEPT = (".safetensors", ".json", ".txt", ".model")
"""Weights, configuration and vocabularies."""


def is_bare_adapter(folder: Path) -> bool:
    """Whether a folder is an adapter without a manifest."""
    return (folder / weights.ADAPTER).is_file() and not (folder / MANIFEST).is_file()


def complete(
    source: Path,
    base: str,
    to: Path,
    *,
    name: str | None = None,
    version: str | None = None,
    labels: Sequence[str] | None = None,
) -> BundleManifest:
    """Write a bundle of an adapter into the folder `to`, which is made.

    Args:
        source: The adapter's folder.
        base: Address of the model that it was trained on: whole weights.
        to: Gets the bundle.
        name: By default the folder's.
        version: By default the first 12 hex digits of the adapter's SHA-256.
        labels: In the order of the logits; by default the base's, or LABEL_0 and so on.

    Raises:
        RegistryRefused: The base is an adapter too.
        serve_app.errors.BundleInvalid: A file cannot be read.
        BaseInvalid: There is no such base.
    """
    from transformers import AutoConfig

    found = find_base(base)
    if found.adapter is not None:
        raise RegistryRefused(
            f"the base {base!r} is an adapter itself; give the whole weights that {source} was trained on"
        )
    weights.refuse_pointers(source, [weights.ADAPTER, "adapter_config.json"])
    to.mkdir(parents=True)
    for file in visible_files(source):
        if "/" not in file and file.endswith(_KEPT):
            shutil.copyfile(source / file, to / file)
    known = found.labels or ()
    outputs = _outputs(source) or len(known) or 2
    of_base = known if len(known) == outputs else tuple(f"LABEL_{index}" for index in range(outputs))
    named = tuple(labels or of_base)
    config = AutoConfig.from_pretrained(found.weights, local_files_only=True, trust_remote_code=False)
    config.id2label = dict(enumerate(named))
    config.label2id = {label: index for index, label in enumerate(named)}
    config.save_pretrained(to)
    return write_manifest(
        to,
        name=slug(name or source.resolve().name),
        version=version or sha256_files(to, [weights.ADAPTER])[weights.ADAPTER][:12],
        labels=named,
        base=found.reference,
    )


def _outputs(folder: Path) -> int | None:
    """How many logits the head in an adapter gives: the rows of its narrowest matrix; None without a head."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / weights.ADAPTER, framework="numpy") as file:
            names = [name for name in file.keys() if ".lora_" not in name]  # noqa: SIM118  # no mapping
            shapes = [file.get_slice(name).get_shape() for name in names]
    except (OSError, SafetensorError) as error:
        raise BundleInvalid(f"{folder / weights.ADAPTER} cannot be read: {error}; copy it again") from error
    return min((shape[0] for shape in shapes if len(shape) == 2), default=None)
