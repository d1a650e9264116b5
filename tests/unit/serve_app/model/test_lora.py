"""Tests of LoRA merging: the merged weights equal PEFT's, or the adapter is refused without any change."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from serve_app.errors import InvalidBundleError
from serve_app.model.lora import merge

# PEFT uses an attribute of transformers under a deprecated name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

EVERY_LINEAR = ["query", "key", "value", "dense"]
Weights = dict[str, torch.Tensor]


def tiny_bert() -> BertForSequenceClassification:
    """Return a random classifier that is the same at each call."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    return BertForSequenceClassification(config)


def save_adapter(folder: Path, **settings: Any) -> Weights:
    """Write a random adapter for `tiny_bert` with PEFT, and return the weights that PEFT merges it to."""
    settings = {
        "task_type": TaskType.SEQ_CLS,
        "r": 4,
        "lora_alpha": 6,
        "target_modules": EVERY_LINEAR,
        "modules_to_save": ["classifier"],
    } | settings
    model: Any = get_peft_model(tiny_bert(), LoraConfig(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    merged: Weights = model.merge_and_unload().state_dict()
    return merged


def change(folder: Path, edit: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    edit(weights)
    save_file(weights, folder / "adapter_model.safetensors")


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target_modules": ["query", "value"]},
        {"use_rslora": True},
        {"alpha_pattern": {"query": 1, r"layer.1.attention.output.dense": 20}, "rank_pattern": {"key": 2}},
        {"init_lora_weights": "gaussian", "lora_dropout": 0.1},
    ],
)
def test_merged_weights_are_pefts(tmp_path: Path, settings: dict[str, Any]) -> None:
    expected = save_adapter(tmp_path, **settings)
    model = tiny_bert()

    whole = merge(model, tmp_path)

    found = model.state_dict()
    assert found.keys() == expected.keys()
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) <= 1e-6
    assert not torch.equal(
        found["bert.encoder.layer.0.attention.self.query.weight"],
        tiny_bert().bert.encoder.layer[0].attention.self.query.weight,
    )
    assert whole == {"classifier.weight", "classifier.bias"}


def test_a_half_precision_adapter_is_merged_in_float32(tmp_path: Path) -> None:
    expected = save_adapter(tmp_path)
    change(tmp_path, lambda weights: weights.update({name: w.half() for name, w in weights.items()}))
    model = tiny_bert()

    merge(model, tmp_path)

    found = model.state_dict()
    assert all(tensor.dtype == torch.float32 for tensor in found.values() if tensor.is_floating_point())
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) <= 5e-3


def drop_a_partner(weights: Weights) -> None:
    del weights[next(name for name in weights if "lora_B" in name)]


def transpose_one(weights: Weights) -> None:
    name = next(name for name in weights if "lora_A" in name)
    weights[name] = weights[name].T.contiguous()


def flatten_one(weights: Weights) -> None:
    name = next(name for name in weights if "lora_A" in name)
    weights[name] = weights[name].flatten()


def grow_the_head(weights: Weights) -> None:
    weights["base_model.model.classifier.bias"] = torch.zeros(3)


def name_another_module(weights: Weights) -> None:
    weights["base_model.model.roberta.x.lora_A.weight"] = torch.zeros(4, 16)
    weights["base_model.model.roberta.x.lora_B.weight"] = torch.zeros(16, 4)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (drop_a_partner, "lora_A.weight"),
        (transpose_one, "does not fit"),
        (flatten_one, "does not fit"),
        (grow_the_head, "classifier.bias"),
        (name_another_module, "roberta.x.lora_A.weight"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(
    tmp_path: Path, edit: Callable[[Weights], object], named: str
) -> None:
    save_adapter(tmp_path)
    change(tmp_path, edit)
    model = tiny_bert()

    with pytest.raises(InvalidBundleError) as caught:
        merge(model, tmp_path)

    assert named in str(caught.value)
    untouched = tiny_bert().state_dict()
    assert all(torch.equal(tensor, untouched[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "IA3"},
        {"bias": "all"},
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"alora_invocation_tokens": [1, 2]},
        {"a_variant_of_next_year": {"rank": 4}},
    ],
)
def test_a_variant_of_lora_is_refused_by_its_setting(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_adapter(tmp_path)
    configure(tmp_path, **changes)

    with pytest.raises(InvalidBundleError, match=next(iter(changes))):
        merge(tiny_bert(), tmp_path)


@pytest.mark.parametrize("changes", [{"lora_alpha": None}, {"lora_alpha": "x"}, {"alpha_pattern": {"(": 1}}])
def test_a_broken_configuration_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_adapter(tmp_path)
    configure(tmp_path, **changes)

    with pytest.raises(InvalidBundleError, match=r"adapter_config\.json"):
        merge(tiny_bert(), tmp_path)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    save_adapter(tmp_path)
    (tmp_path / name).write_bytes(b"[]")

    with pytest.raises(InvalidBundleError, match=name.replace(".", r"\.")):
        merge(tiny_bert(), tmp_path)
