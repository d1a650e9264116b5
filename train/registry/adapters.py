"""Conversion of a PEFT adapter, as `save_pretrained` writes it, to a bundle that references its base.

The adapter's folder has no `config.json` and no list of the base's files; both are taken from the base.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from serve_app.errors import InvalidBundleError
from serve_app.model import weight_files
from serve_app.model.bundle import MANIFEST, BundleManifest, write_manifest
from serve_app.model.checksums import sha256_files, visible_files
from serve_app.model.hf_folder import slug
from train.base_model import find_base
from train.errors import RegistryRequestError

_KEPT = (".safetensors", ".json", ".txt", ".model")
"""Weights, configuration and vocabularies."""


def is_bare_adapter(folder: Path) -> bool:
    """Return whether a folder is an adapter without a manifest."""
    return (folder / weight_files.ADAPTER).is_file() and not (folder / MANIFEST).is_file()


def complete(
    source: Path,
    base: str,
    to: Path,
    *,
    name: str | None = None,
    version: str | None = None,
    labels: Sequence[str] | None = None,
) -> BundleManifest:
    """Create a bundle of an adapter in the new folder `to`.

    Args:
        source: Folder of the adapter.
        base: URI of its base model, with full weights.
        to: Folder of the bundle.
        name: Name of the model; by default the name of the folder.
        version: Version; by default the first 12 hex digits of the adapter's SHA-256.
        labels: Labels in the order of the logits; by default the base's, or LABEL_0 and so on.

    Raises:
        RegistryRequestError: The base is an adapter too.
        serve_app.errors.InvalidBundleError: A file cannot be read.
        BaseModelError: The base does not exist.
    """
    from transformers import AutoConfig

    found = find_base(base)
    if found.adapter is not None:
        raise RegistryRequestError(
            f"the base {base!r} is an adapter itself; expected the full weights that {source} was trained on"
        )
    weight_files.refuse_pointers(source, [weight_files.ADAPTER, "adapter_config.json"])
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
        version=version or sha256_files(to, [weight_files.ADAPTER])[weight_files.ADAPTER][:12],
        labels=named,
        base=found.reference,
    )


def _outputs(folder: Path) -> int | None:
    """Return the number of logits of the adapter's head (rows of its narrowest matrix); None without one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / weight_files.ADAPTER, framework="numpy") as file:
            names = [name for name in file.keys() if ".lora_" not in name]  # noqa: SIM118  # no mapping
            shapes = [file.get_slice(name).get_shape() for name in names]
    except (OSError, SafetensorError) as error:
        raise InvalidBundleError(
            f"{folder / weight_files.ADAPTER} cannot be read: {error}; copy it again"
        ) from error
    return min((shape[0] for shape in shapes if len(shape) == 2), default=None)
