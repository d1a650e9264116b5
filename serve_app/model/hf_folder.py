"""Plain Hugging Face model folders: derivation of a manifest for a folder without `bundle.json`."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve_app.errors import BundleNotFoundError, InvalidBundleError
from serve_app.model import checksums, weight_files
from serve_app.model.bundle import MANIFEST, BundleManifest, faults


def describe_plain(folder: Path, *, name: str | None = None, version: str | None = None) -> BundleManifest:
    """Derive the manifest of a folder without one from its files.

    Pickles next to safetensors (Trainer writes `training_args.bin`) are not listed and never opened.

    Args:
        folder: Sequence-classification model as `save_pretrained` writes it.
        name: Model name; by default the name of the folder.
        version: Version; by default the first 12 hex digits of the SHA-256 over the files' names and
            checksums.

    Raises:
        BundleNotFoundError: The folder or its `config.json` does not exist.
        UnsafeArtifactError: All its weights are pickles.
        InvalidBundleError: The folder holds an adapter, quantised weights, no weights, Git LFS pointers, a
            model without a classification head, a regression model, or a number of labels other than that of
            logits.
    """
    if (folder / weight_files.ADAPTER).is_file():
        raise InvalidBundleError(
            f"{folder} is a PEFT adapter without {MANIFEST}, which would name its base; create a bundle with "
            "`python -m train import FOLDER --base BASE`, or merge it with PEFT's merge_and_unload"
        )
    config = read_config(folder)
    present = checksums.visible_files(folder)
    files = [file for file in present if not weight_files.is_pickle(file)]
    if not weight_files.is_whole(files):
        weight_files.refuse_pickles(folder, present)
        raise InvalidBundleError(f"no model.safetensors in {folder}; save the model with save_pretrained")
    weight_files.refuse_pointers(folder, files)
    if not classifies(config):
        raise InvalidBundleError(
            f"{folder}/config.json: architectures is {config['architectures']}; expected one with a "
            "sequence-classification head; fine-tune the model first"
        )
    if config.get("quantization_config"):
        raise InvalidBundleError(
            f"{folder}/config.json: the weights are quantised (quantization_config), which is not supported; "
            "save the model in float32, bfloat16 or float16"
        )
    labels = _labels(config, folder)
    refuse_regression(config.get("problem_type"), len(labels), str(folder))
    weight_files.check_shards(folder, files)
    hashes = checksums.sha256_files(folder, files)
    listing = "".join(f"{digest}  {file}\n" for file, digest in hashes.items())
    try:
        return BundleManifest(
            name=slug(name or folder.resolve().name),
            version=version or hashlib.sha256(listing.encode()).hexdigest()[:12],
            files=hashes,
            labels=labels,
        )
    except ValidationError as error:
        raise InvalidBundleError(f"{folder} cannot be served: {faults(error)}") from error


def classifies(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration may be a classifier's; without `architectures` its weights decide."""
    architectures = config.get("architectures") or []
    return not architectures or "ForSequenceClassification" in str(architectures)


def refuse_regression(problem_type: object, outputs: int, where: str) -> None:
    """Raise InvalidBundleError for a regression model."""
    if problem_type == "regression" or outputs == 1:
        raise InvalidBundleError(
            f"{where} is a regression model (problem_type {problem_type!r}, outputs: {outputs}), which "
            "cannot be served as a classifier; fine-tune it on labels with `python -m train fit --base`, or "
            "use a model with at least two labels"
        )


def read_config(folder: Path) -> Mapping[str, Any]:
    """Read `config.json`; raises as `describe_plain`."""
    path = folder / "config.json"
    weight_files.refuse_pointers(folder, ["config.json"])
    try:
        config = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleNotFoundError(
            f"neither {MANIFEST} nor config.json in {folder}; check the path"
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidBundleError(f"{path} cannot be read: {error}; save the model again") from error
    if not isinstance(config, dict):
        raise InvalidBundleError(f"{path} is not a JSON object; save the model again")
    return config


def _labels(config: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Return the labels in the order of the logits; transformers does not write default labels."""
    number = config.get("num_labels")
    outputs = number if isinstance(number, int) else 2
    by_id = config.get("id2label") or {str(index): f"LABEL_{index}" for index in range(outputs)}
    try:
        numbered = {int(index): str(label) for index, label in by_id.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidBundleError(
            f"{folder}/config.json: id2label is {by_id!r}; expected labels by number"
        ) from error
    if sorted(numbered) != list(range(len(numbered))):
        raise InvalidBundleError(
            f"{folder}/config.json: id2label has the numbers {sorted(numbered)}; expected 0 to "
            f"{len(numbered) - 1}"
        )
    return tuple(label for _, label in sorted(numbered.items()))


def slug(text: str) -> str:
    """Return `text` as a name that is valid in a header, a URL path and a folder."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).lstrip("-._+")[:128] or "model"
