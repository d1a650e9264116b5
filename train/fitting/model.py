"""The model in training: built from its base, and written as the files of a bundle."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from serve_app.errors import BundleError
from serve_app.model import lora
from train.base import Base
from train.errors import BaseInvalid, SettingsInvalid
from train.settings import FitSettings

_ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_RANK = 32
_HIDDEN_DROPOUT = ("hidden_dropout_prob", "dropout")
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
_HEAD_DROPOUT = ("classifier_dropout", "seq_classif_dropout")


@dataclass(frozen=True, slots=True)
class TrainModel:
    """A classifier and which of its weights are trained."""

    model: Any
    """A `peft.PeftModel` or a plain one."""
    head: str
    """What the names of the head's parameters contain."""
    as_adapter: bool
    """Whether the bundle gets an adapter, or the whole weights."""

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The trained parameters by name, always in the same order."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}


def build(base: Base, settings: FitSettings) -> TrainModel:
    """The model to train; torch's seed decides the first values of what is new in it.

    An adapter goes on where the base's own one is, if the labels stay. Where an adapter of its own would not
    fit what the service loads (other labels than the base's head, or an adapter of another shape below it),
    the result is written as whole weights.

    Args:
        base: What to start from.
        settings: Of the run.

    Raises:
        BaseInvalid: The base cannot be loaded.
        SettingsInvalid: The labels are the base's in another order, or the adapter's shape is another one.
    """
    same_labels = base.labels == settings.labels
    if base.labels and not same_labels and set(base.labels) == set(settings.labels):
        raise SettingsInvalid(f"labels must be in the base's order, {list(base.labels)}")
    goes_on = settings.method == "lora" and base.adapter is not None and same_labels
    plain = _load(base, settings, merged=not goes_on)
    if settings.method == "full":
        return TrainModel(plain, settings.lora.head, as_adapter=False)
    if goes_on and base.adapter is not None:
        return TrainModel(_go_on(plain, base.adapter, settings), settings.lora.head, as_adapter=True)
    fits = base.adapter is None and (same_labels or base.labels is None)
    return TrainModel(_new_adapter(plain, settings), settings.lora.head, as_adapter=fits)


def write_product(
    trained: TrainModel, base: Base, settings: FitSettings, tokenizer: Any, bundle: Path
) -> None:
    """Write all of a bundle but its manifest: configuration, and adapter or whole weights with tokenizer.

    Weights of an adapter are float16, the others as they are.
    """
    bundle.mkdir(parents=True, exist_ok=True)
    if trained.as_adapter:
        _save_adapter(trained.model, bundle, base_uri=base.reference.uri)
        plain = trained.model.get_base_model()
        if base.tokenizer == base.adapter:
            tokenizer.save_pretrained(bundle)
    else:
        plain = trained.model if settings.method == "full" else trained.model.merge_and_unload()
        plain.save_pretrained(bundle)
        tokenizer.save_pretrained(bundle)
    config = plain.config
    config.architectures = [type(plain).__name__]
    config.save_pretrained(bundle)


def _load(base: Base, settings: FitSettings, *, merged: bool) -> Any:
    """The base as a plain classifier with the settings' labels, its adapter merged if asked."""
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found = base.labels or settings.labels
    try:
        config = AutoConfig.from_pretrained(base.adapter or base.weights, local_files_only=True)
        _set_labels(config, found)
        _set_dropout(config, settings)
        model = AutoModelForSequenceClassification.from_pretrained(
            base.weights,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            # On a CPU the backward pass through SDPA is the slower one for short, masked texts. None takes
            # the fastest that the architecture has.
            attn_implementation=None if torch.cuda.is_available() else "eager",
        )
        if merged and base.adapter is not None:
            lora.merge(model.state_dict(), base.adapter)
    except (OSError, ValueError, RuntimeError, BundleError) as error:
        raise BaseInvalid(f"the base in {base.weights} cannot be loaded: {error}") from error
    return model if found == settings.labels else _with_new_head(model, settings)


def _with_new_head(model: Any, settings: FitSettings) -> Any:
    """The same encoder under a new, randomly set head for the settings' labels."""
    import copy

    config = copy.deepcopy(model.config)
    _set_labels(config, settings.labels)
    renewed = type(model)._from_config(config, attn_implementation=config._attn_implementation)
    kept = {name: value for name, value in model.state_dict().items() if settings.lora.head not in name}
    renewed.load_state_dict(kept, strict=False)
    return renewed


def _set_labels(config: Any, labels: tuple[str, ...]) -> None:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}


def _set_dropout(config: Any, settings: FitSettings) -> None:
    """Each architecture has its own names for the three kinds of dropout."""
    inside, before_head = settings.optimiser.encoder_dropout, settings.optimiser.dropout
    for names, value in (
        (_HIDDEN_DROPOUT, inside),
        (_ATTENTION_DROPOUT, inside),
        (_HEAD_DROPOUT, before_head),
    ):
        for name in names:
            if hasattr(config, name):
                setattr(config, name, value)


def _new_adapter(model: Any, settings: FitSettings) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    targets = settings.lora.targets
    rank = settings.lora.rank or _RANK
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=settings.lora.alpha or rank,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=[settings.lora.head],
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # a name in transformers that peft still uses
            return get_peft_model(model, config)
    except ValueError as error:
        raise SettingsInvalid(f"[lora] does not fit the base: {error}") from error


def _go_on(model: Any, adapter: Path, settings: FitSettings) -> Any:
    """The base's own adapter, trainable; it keeps its shape."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    found = wrapped.peft_config["default"]
    for name, own, wanted in (
        ("rank", found.r, settings.lora.rank),
        ("alpha", found.lora_alpha, settings.lora.alpha),
    ):
        if wanted not in (None, own):
            raise SettingsInvalid(
                f"the base's adapter has {name} {own}, [lora] says {wanted}; leave it out to go on with that "
                "adapter, or set method to full"
            )
    return wrapped


def _save_adapter(model: Any, folder: Path, *, base_uri: str) -> None:
    """Write the adapter in PEFT's format; the same weights give the same bytes."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in sorted(get_peft_model_state_dict(model).items())
    }
    save_file(tensors, folder / _ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = base_uri
    config["inference_mode"] = True
    plain = json.loads(json.dumps(config, default=_plain))
    for unordered in ("target_modules", "modules_to_save"):
        plain[unordered] = sorted(set(plain[unordered]))
    (folder / _ADAPTER_CONFIG).write_text(
        json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)
