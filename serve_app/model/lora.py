"""Merging of LoRA adapters in PEFT's format into a model's weights at load, without the peft package.

W' = W + scale · B·A with scale = alpha / r, or alpha / sqrt(r) for rank-stabilised adapters: Hu et al. 2021
(arXiv:2106.09685) section 4.1, Kalajdzievski 2023 (arXiv:2312.03732). GPT-2's Conv1D stores a weight as (in,
out), and needs the transpose. A merged adapter adds no inference time.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from serve_app.errors import InvalidBundleError
from serve_app.model.weight_files import ADAPTER

_CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
# Settings that are read below, implied by the adapter's keys, used in training only, or informational. Any
# other setting with a value belongs to a variant (DoRA, aLoRA …) with another formula.
_UNDERSTOOD = frozenset(
    {"peft_type", "lora_alpha", "fan_in_fan_out", "alpha_pattern", "use_rslora", "bias", "init_lora_weights"}
    | {"r", "rank_pattern", "target_modules", "exclude_modules", "modules_to_save"}
    | {"layers_to_transform", "layers_pattern", "ensure_weight_tying"}
    | {"lora_dropout", "inference_mode", "eva_config", "loftq_config", "runtime_config", "qalora_group_size"}
    | {"task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "megatron_core"}
)
# Other initialisations (pissa, olora, loftq …) change the base weights first.
_INIT_KEEPS_BASE = (True, False, "gaussian", "eva", "orthogonal")


def merge(model: nn.Module, folder: Path) -> frozenset[str]:
    """Merge the adapter in `folder` into the model, in place; change nothing if a part of it does not fit.

    Products and sums are computed in float32 and rounded once to the data type of the weight.

    Args:
        model: Base model with the adapter's kind of head.
        folder: Folder with `adapter_config.json` and `adapter_model.safetensors`.

    Returns:
        Names of the weights that the adapter replaces (PEFT's `modules_to_save`, such as the head); they must
        include all weights that the base lacks.

    Raises:
        InvalidBundleError: The adapter is not a plain LoRA, or a key or shape in it does not fit the model.
    """
    config = _read_config(folder)
    try:
        adapter = load_file(folder / ADAPTER)
    except (OSError, SafetensorError) as error:
        raise InvalidBundleError(f"{folder / ADAPTER} cannot be read: {error}; copy it again") from error

    state = model.state_dict()
    transposed = {name for name, module in model.named_modules() if isinstance(module, Conv1D)}
    merged: dict[str, Tensor] = {}
    left = set(adapter)
    for key in [key for key in adapter if key.endswith(_A)]:
        module, partner = key.removeprefix(_PREFIX).removesuffix(_A), key.removesuffix(_A) + _B
        weight, down, up = state.get(f"{module}.weight"), adapter[key], adapter.get(partner)
        if weight is None or up is None:
            continue
        rank = down.shape[0]
        target = weight.T if module in transposed else weight
        if (up.shape, down.shape) != ((target.shape[0], rank), (rank, target.shape[-1])):
            raise InvalidBundleError(
                f"{module} in {folder / ADAPTER}: B {tuple(up.shape)} times A {tuple(down.shape)} does not "
                f"fit the model's weight {tuple(weight.shape)}; the adapter was trained on another base"
            )
        update = _scale(config, module, rank) * (up.float() @ down.float())
        merged[f"{module}.weight"] = weight.float() + (update.T if module in transposed else update)
        left -= {key, partner}

    whole = {key.removeprefix(_PREFIX): key for key in left}
    for name, key in whole.items():
        if name in state and state[name].shape == adapter[key].shape:
            merged[name] = adapter[key]
            left.remove(key)
    if left:
        raise InvalidBundleError(
            f"{folder / ADAPTER}: {len(left)} of {len(adapter)} weights do not exist in the model, such as "
            f"{min(left)}; the adapter was trained on another base or with another head"
        )
    with torch.no_grad():
        for name, tensor in merged.items():
            state[name].copy_(tensor)
    return frozenset(whole)


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Return the factor of B·A for a module; as in PEFT, a pattern matches trailing parts of its name."""
    patterns = config.get("alpha_pattern") or {}
    found = (alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module))
    alpha = float(next(found, config["lora_alpha"]))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / _CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        for pattern, alpha in {"": config["lora_alpha"], **(config.get("alpha_pattern") or {})}.items():
            re.compile(pattern)
            float(alpha)
        refused = sorted(key for key, value in config.items() if value and key not in _UNDERSTOOD)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, re.error) as error:
        raise InvalidBundleError(
            f"{path} is not the configuration of an adapter: {error!r}; save the adapter with PEFT"
        ) from error
    if config.get("peft_type") != "LORA":
        refused = ["peft_type"]
    elif config.get("bias", "none") != "none":
        refused = ["bias"]
    elif config.get("init_lora_weights", True) not in _INIT_KEEPS_BASE:
        refused = ["init_lora_weights"]
    if refused:
        raise InvalidBundleError(
            f"{path}: {refused[0]} is {config.get(refused[0])!r}, which is not supported; merge the adapter "
            "with PEFT's merge_and_unload and serve the full weights"
        )
    return config
