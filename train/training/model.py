"""Model in training: construction from its base, and writing of the files of a bundle."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from serve_app.model import lora
from train.base_model import Base, load_tokenizer
from train.errors import BaseModelError, SettingsFileError
from train.settings import FitSettings

_ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_RANK = 32
_HIDDEN_DROPOUT = ("hidden_dropout_prob", "dropout")
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
_HEAD_DROPOUT = ("classifier_dropout", "seq_classif_dropout")


@dataclass(frozen=True, slots=True)
class TrainModel:
    """Classifier with the names of its trained weights."""

    model: Any
    """A `peft.PeftModel` or a plain model."""
    head: tuple[str, ...]
    """Names of the modules on top of the encoder."""
    as_adapter: bool
    """Whether the bundle contains an adapter, or all weights."""

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Return the trained parameters by name, always in the same order."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def is_head(self, name: str) -> bool:
        """Return whether a parameter belongs to the head, by its name."""
        return _is_below(name, self.head)


def build(base: Base, settings: FitSettings) -> TrainModel:
    """Build the model to train; torch's random seed determines the initial values of new weights.

    If the labels stay the same, the base's own adapter is trained further. If the service could not load a
    separate adapter (other labels than the base's head, or an adapter of another shape below it), the result
    is written as full weights.

    Args:
        base: Base model.
        settings: Settings of the run.

    Raises:
        BaseModelError: The base cannot be loaded.
        SettingsFileError: The labels are the base's in another order, or the adapter's shape is another one.
    """
    same_labels = base.labels == settings.labels
    if base.labels and not same_labels and set(base.labels) == set(settings.labels):
        raise SettingsFileError(
            f"labels is {list(settings.labels)}; expected the order of the base, {list(base.labels)}"
        )
    goes_on = settings.method == "lora" and base.adapter is not None and same_labels
    plain, new = _load(base, settings, merged=not goes_on)
    head = _head(plain, settings)
    if settings.method == "full":
        return TrainModel(plain, head, as_adapter=False)
    if goes_on and base.adapter is not None:
        return TrainModel(_go_on(plain, base.adapter, settings), head, as_adapter=True)
    fits = base.adapter is None and (same_labels or base.labels is None)
    # Modules that the base does not have, such as the pooler of a masked language model, are stored with the
    # head.
    modules = [*head, *sorted({name.rpartition(".")[0] for name in new if not _is_below(name, head)})]
    return TrainModel(_new_adapter(plain, modules, settings), head, as_adapter=fits)


def write_product(
    trained: TrainModel, base: Base, settings: FitSettings, tokenizer: Any, bundle: Path
) -> None:
    """Write all files of a bundle except its manifest.

    These are the configuration, and an adapter or full weights with the tokenizer. Weights of an adapter are
    float16, the others keep their type.
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


def _load(base: Base, settings: FitSettings, *, merged: bool) -> tuple[Any, set[str]]:
    """Load the base as a plain classifier with the settings' labels; return it and its missing weights.

    The missing weights are names of parameters. With `merged`, the base's adapter is merged into the weights.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found = base.labels or settings.labels
    try:
        config = AutoConfig.from_pretrained(base.adapter or base.weights, local_files_only=True)
        _set_labels(config, found)
        _set_dropout(config, settings)
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            base.weights,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=base.labels is None,  # such as the head of a regression
            dtype=torch.float32,
            # On a CPU, the backward pass through SDPA is slower for short, masked texts. None selects the
            # fastest implementation of the architecture.
            attn_implementation=None if torch.cuda.is_available() else "eager",
        )
        new = {*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])}
        if merged and base.adapter is not None:
            new -= lora.merge(model, base.adapter)
    except Exception as error:  # libraries raise various exceptions for unreadable files
        raise BaseModelError(f"the base in {base.weights} cannot be loaded: {error}") from error
    _refuse_other_weights(model, new, base)
    _complete_pad_token(model, base)
    return (model if found == settings.labels else _with_new_head(model, settings)), new


def _refuse_other_weights(model: Any, new: set[str], base: Base) -> None:
    """Raise BaseModelError if the file's weights are not those of the configuration's encoder."""
    own = {name for name, _ in model.named_parameters() if _is_below(name, (model.base_model_prefix,))}
    if 2 * len(own & new) > len(own):
        raise BaseModelError(
            f"the weights in {base.weights} do not match its config.json: {len(own & new)} of {len(own)} "
            f"encoder weights are missing, such as {min(own & new)}; both files must be of the same model"
        )


def _complete_pad_token(model: Any, base: Base) -> None:
    """Set the pad token, by which a decoder's head finds a text's end; GPT-2 and Llama have none."""
    config, embeddings = model.config.get_text_config(), model.get_input_embeddings().weight.shape[0]
    if config.pad_token_id is None or not 0 <= config.pad_token_id < embeddings:
        tokenizer = load_tokenizer(base)
        known = [pad for pad in (tokenizer.pad_token_id, tokenizer.eos_token_id) if pad is not None]
        config.pad_token_id = next((pad for pad in known if pad < embeddings), None)


def _head(model: Any, settings: FitSettings) -> tuple[str, ...]:
    """Return the names of the modules on top of the encoder, or the one in the settings."""
    if settings.lora.head is not None:
        return (settings.lora.head,)
    return tuple(
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix and any(True for _ in module.parameters())
    )


def _is_below(name: str, modules: tuple[str, ...]) -> bool:
    return any(f".{module}." in f".{name}" for module in modules)


def _with_new_head(model: Any, settings: FitSettings) -> Any:
    """Return the same encoder with a new, randomly initialised head for the settings' labels."""
    import copy

    config = copy.deepcopy(model.config)
    _set_labels(config, settings.labels)
    renewed = type(model)._from_config(config, attn_implementation=config._attn_implementation)
    head = _head(model, settings)
    kept = {name: value for name, value in model.state_dict().items() if not _is_below(name, head)}
    renewed.load_state_dict(kept, strict=False)
    return renewed


def _set_labels(config: Any, labels: tuple[str, ...]) -> None:
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if config.problem_type is not None:
        config.problem_type = "single_label_classification"  # the problem type of training and serving


def _set_dropout(config: Any, settings: FitSettings) -> None:
    """Set the three kinds of dropout, whose names differ between architectures."""
    inside, before_head = settings.optimiser.encoder_dropout, settings.optimiser.dropout
    for names, value in (
        (_HIDDEN_DROPOUT, inside),
        (_ATTENTION_DROPOUT, inside),
        (_HEAD_DROPOUT, before_head),
    ):
        for name in names:
            if hasattr(config, name):
                setattr(config, name, value)


def _new_adapter(model: Any, whole: list[str], settings: FitSettings) -> Any:
    """Return the model with a new adapter; the modules in `whole` are trained and stored with all weights."""
    from peft import LoraConfig, TaskType, get_peft_model

    targets = settings.lora.targets
    rank = settings.lora.rank or _RANK
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=settings.lora.alpha or rank,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=whole,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for the settings that peft adjusts by itself
            wrapped = get_peft_model(model, config)
    except (ValueError, TypeError) as error:
        raise SettingsFileError(
            f"[lora] does not fit the base: {error}; set other lora.targets, or --method full"
        ) from error
    if wrapped.peft_config["default"].target_parameters:
        raise SettingsFileError(
            f"the base is a mixture of experts ({model.config.model_type}), whose adapters the service "
            "cannot merge; train it with --method full"
        )
    return wrapped


def _go_on(model: Any, adapter: Path, settings: FitSettings) -> Any:
    """Return the model with the base's own adapter, trainable and of the same shape."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    config = wrapped.peft_config["default"]
    for name, own, configured in (
        ("rank", config.r, settings.lora.rank),
        ("alpha", config.lora_alpha, settings.lora.alpha),
    ):
        if configured not in (None, own):
            raise SettingsFileError(
                f"lora.{name} is {configured}; expected {own} as in the base's adapter; omit it to continue "
                "that adapter, or set --method full"
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
