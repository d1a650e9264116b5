"""A plain Hugging Face folder, without `bundle.json`, described as if it had one."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serve_app.errors import BundleInvalid, BundleNotFound
from serve_app.model import digests, weights
from serve_app.model.bundle import MANIFEST, BundleManifest, faults


def describe_plain(folder: Path, *, name: str | None = None, version: str | None = None) -> BundleManifest:
    """The manifest of a folder that has none, made from what lies there.

    Pickles beside safetensors (Trainer leaves `training_args.bin`) are neither listed nor ever opened.

    Args:
        folder: A sequence-classification model as `save_pretrained` writes it.
        name: Model name; the folder's own by default.
        version: Version; by default the first 12 hex digits of the SHA-256 over the files' names and digests.

    Raises:
        BundleNotFound: No such folder, or no `config.json` in it.
        UnsafeArtifact: All its weights are pickles.
        BundleInvalid: An adapter, quantised or no weights, Git LFS pointers, no classification head, a
            regression, or labels that are not one per logit.
    """
    if (folder / weights.ADAPTER).is_file():
        raise BundleInvalid(
            f"{folder} is a PEFT adapter without {MANIFEST}, which names its base; make it a bundle with "
            "`python -m train import FOLDER --base BASE`, or serve what PEFT's merge_and_unload gives"
        )
    config = read_config(folder)
    present = digests.visible_files(folder)
    files = [file for file in present if not weights.is_pickle(file)]
    if not weights.is_whole(files):
        weights.refuse_pickles(folder, present)
        raise BundleInvalid(f"no model.safetensors in {folder}; save the model with save_pretrained")
    weights.refuse_pointers(folder, files)
    if not classifies(config):
        raise BundleInvalid(
            f"{folder}/config.json: architectures is {config['architectures']}, none with a "
            "sequence-classification head; fine-tune the model first"
        )
    if config.get("quantization_config"):
        raise BundleInvalid(
            f"{folder}/config.json: the weights are quantised (quantization_config), which is not read here; "
            "save the model in float32, bfloat16 or float16"
        )
    labels = _labels(config, folder)
    refuse_regression(config.get("problem_type"), len(labels), str(folder))
    weights.check_shards(folder, files)
    hashes = digests.sha256_files(folder, files)
    listing = "".join(f"{digest}  {file}\n" for file, digest in hashes.items())
    try:
        return BundleManifest(
            name=slug(name or folder.resolve().name),
            version=version or hashlib.sha256(listing.encode()).hexdigest()[:12],
            files=hashes,
            labels=labels,
        )
    except ValidationError as error:
        raise BundleInvalid(f"{folder} cannot be served: {faults(error)}") from error


def classifies(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is a classifier's; without `architectures` it may be, as its weights show."""
    architectures = config.get("architectures") or []
    return not architectures or "ForSequenceClassification" in str(architectures)


def refuse_regression(problem_type: object, outputs: int, where: str) -> None:
    """Raise BundleInvalid for a model that gives a number and no class."""
    if problem_type == "regression" or outputs == 1:
        raise BundleInvalid(
            f"{where} is a regression model (problem_type {problem_type!r}, outputs: {outputs}); it gives "
            "numbers and no classes, so it cannot be served as a classifier: fine-tune it on labels with "
            "`python -m train fit --base`, or take a model with two labels or more"
        )


def read_config(folder: Path) -> Mapping[str, Any]:
    """Read `config.json`; errors as of `describe_plain`."""
    path = folder / "config.json"
    weights.refuse_pointers(folder, ["config.json"])
    try:
        config = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleNotFound(f"neither {MANIFEST} nor config.json in {folder}; check the path") from error
    except (OSError, ValueError) as error:
        raise BundleInvalid(f"{path} cannot be read: {error}; save the model again") from error
    if not isinstance(config, dict):
        raise BundleInvalid(f"{path} is not a JSON object; save the model again")
    return config


def _labels(config: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Labels in the order of the logits; transformers leaves default ones out of the file."""
    number = config.get("num_labels")
    outputs = number if isinstance(number, int) else 2
    by_id = config.get("id2label") or {str(index): f"LABEL_{index}" for index in range(outputs)}
    try:
        numbered = {int(index): str(label) for index, label in by_id.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BundleInvalid(f"{folder}/config.json: id2label is {by_id!r}, not a label by number") from error
    if sorted(numbered) != list(range(len(numbered))):
        raise BundleInvalid(
            f"{folder}/config.json: id2label numbers {sorted(numbered)}, not 0 to {len(numbered) - 1}"
        )
    return tuple(label for _, label in sorted(numbered.items()))


def slug(text: str) -> str:
    """Return `text` as a name that fits a header, a URL path and a folder."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).lstrip("-._+")[:128] or "model"
