"""Tests of the learning-rate schedule, the running average of the weights, and padding (torch, no model)."""

import pytest
import torch

from serve_app.model.padding import Padding
from train.settings import OptimiserSettings
from train.training.ema import WeightAverage
from train.training.loop import learning_rate_factor


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    settings = OptimiserSettings(warmup_fraction=0.1)

    factors = [learning_rate_factor(step, 100, settings) for step in range(101)]

    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == 0.0


def test_the_average_follows_the_weights_and_gives_them_back() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0.0)
        average = WeightAverage(layer, decay=0.5)
        layer.weight.fill_(1.0)
    for _ in range(50):
        average.update()

    with torch.no_grad():
        layer.weight.fill_(7.0)
    with average.applied():
        inside = layer.weight.item()

    assert inside == pytest.approx(1.0, abs=1e-6)
    assert layer.weight.item() == 7.0


def test_frozen_weights_are_not_averaged() -> None:
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    average = WeightAverage(layer, decay=0.5)
    with torch.no_grad():
        layer.bias.fill_(3.0)

    with average.applied():
        assert layer.bias.tolist() == [3.0, 3.0]


def test_padding_is_masked() -> None:
    inputs = Padding(9).tensors([[5, 6, 7], [8]], torch.device("cpu"))

    assert inputs["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
