"""Tests of the precision: devices on which bfloat16 is faster, and accepted differences of the scores."""

from pathlib import Path

import pytest
import torch

from serve_app.model.precision import SCORE_TOLERANCE, fastest_dtype, find_difference
from serve_app.model.torchscript import rounded_tokens

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_tile": True, "amx_int8": True, "avx512_vnni": True, "avx512_f": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_cpu_uses_bfloat16_only_with_instructions_for_it(
    capabilities: dict[str, bool], dtype: torch.dtype
) -> None:
    assert fastest_dtype(CPU, cpu=capabilities) == dtype


def test_the_capabilities_of_this_cpu_are_read() -> None:
    [flags] = {line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")}
    has_bfloat16 = not {"amx_bf16", "avx512_bf16"}.isdisjoint(flags.split())
    assert fastest_dtype(CPU) == (torch.bfloat16 if has_bfloat16 else torch.float32)


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((8, 6), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_a_gpu_uses_bfloat16_from_compute_capability_8(
    capability: tuple[int, int], dtype: torch.dtype
) -> None:
    assert fastest_dtype(torch.device("cuda"), cuda=capability) == dtype


def test_equal_labels_and_close_scores_are_the_same_answers() -> None:
    exact = torch.tensor([[0.3, 0.7], [0.9, 0.1]])
    shift = torch.tensor([[1.0, -1.0]])
    assert find_difference(exact, exact) is None
    assert find_difference(exact, exact + 0.99 * SCORE_TOLERANCE * shift) is None
    assert "differs by" in str(find_difference(exact, exact - 1.01 * SCORE_TOLERANCE * shift))


def test_one_changed_label_is_a_difference_however_close_its_score() -> None:
    exact = torch.tensor([[0.501, 0.499], [0.9, 0.1]])
    assert "1 of 2 reference texts" in str(find_difference(exact, torch.tensor([[0.499, 0.501], [0.9, 0.1]])))


def test_a_score_that_is_not_a_number_is_a_difference() -> None:
    exact = torch.tensor([[0.3, 0.7]])
    assert find_difference(exact, torch.tensor([[0.3, float("nan")]])) is not None


def test_batches_of_any_size_have_rows_of_few_lengths() -> None:
    lengths = [rounded_tokens(tokens) for tokens in range(1, 1025)]
    assert all(0 <= length - tokens < 16 for tokens, length in enumerate(lengths, start=1))
    assert len(set(lengths)) <= 80
