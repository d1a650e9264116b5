"""The adapter: putting it on a model, and writing it small and reproducibly."""

import json
from pathlib import Path
from typing import Any

import torch

from train.errors import SettingsInvalid
from train.settings import LoraSettings

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def attach(model: torch.nn.Module, settings: LoraSettings, *, start_from: Path | None = None) -> Any:
    """Wrap a classifier: its weights are frozen, the low-rank updates and the head are trained.

    Args:
        model: The base with a head.
        settings: The adapter's shape.
        start_from: Folder of an adapter of that shape to go on with.

    Raises:
        SettingsInvalid: That adapter has another shape.

    Returns:
        A `peft.PeftModel`; torch's seed decides its first weights.
    """
    from peft import LoraConfig, PeftModel, TaskType, get_peft_model

    if start_from is not None:
        wrapped = PeftModel.from_pretrained(model, start_from, is_trainable=True)
        found = wrapped.peft_config["default"]
        if (found.r, found.lora_alpha) != (settings.rank, settings.alpha):
            raise SettingsInvalid(
                f"{start_from} has rank {found.r} and alpha {found.lora_alpha}, the settings {settings.rank} "
                f"and {settings.alpha}; set [lora] to the adapter's"
            )
        return wrapped
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(settings.targets),
        modules_to_save=[settings.head],
    )
    return get_peft_model(model, config)


def save_adapter(model: Any, folder: Path, *, base: str) -> None:
    """Write the adapter in PEFT's format, the weights as float16.

    Args:
        model: What `attach` gave.
        folder: Made if missing.
        base: How the adapter names its base; never a path of this machine's caches.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in sorted(get_peft_model_state_dict(model).items())
    }
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = base
    config["inference_mode"] = True
    plain = json.loads(json.dumps(config, default=_plain))
    for unordered in ("target_modules", "modules_to_save"):
        plain[unordered] = sorted(set(plain[unordered]))
    (folder / ADAPTER_CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)
