"""Forward pass on a GPU: packed and padded by batch size, and the effect of half precision on the scores.

`python -m benchmarks.cuda --data DATA_DIR` on a machine with CUDA; needs torch, transformers and pydantic.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.in_process import cut, cut_by_length, padded
from benchmarks.texts import mixed
from serve_app.model import resolver
from serve_app.model.classifier import Classifier
from serve_app.model.scorer import EncodedText

CHECKED = 200


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    parser.add_argument("--model", default="builtin:")
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--data", type=Path, help="folder of labelled texts; invented ones without it")
    options = parser.parse_args()
    bundle = resolver.fetch(options.model, cache_dir=Path.home() / ".cache/sentiment-service")
    texts, source = mixed(options.texts, options.data)
    packed, plain = Classifier(bundle), Classifier(bundle, packed=False)
    items = packed.preprocess(texts)
    tokens = sum(item.tokens for item in items)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {packed.dtype}, "
        f"packed: {packed.packed}; {len(items)} texts, {tokens / len(items):.0f} tokens on average; {source}"
    )
    runs: list[tuple[str, Callable[[Sequence[EncodedText]], object], list[Sequence[EncodedText]]]] = []
    for size in (32, 256):
        runs.append((f"padded, arrival order, batches of {size}", padded(plain), cut(items, size)))
        runs.append((f"padded, all sorted, batches of {size}", padded(plain), cut_by_length(items, size)))
        runs.append((f"packed, arrival order, batches of {size}", packed.logits, cut(items, size)))
    runs.append(("packed, arrival order, batches of 512", packed.logits, cut(items, 512)))
    first = None
    for what, forward, batches in runs:
        seconds = min(_seconds(forward, batches) for _ in range(3))
        first = first or seconds
        rate, of_tokens = len(items) / seconds, tokens / seconds
        print(f"{what:42} {rate:10,.0f} texts/s {of_tokens:12,.0f} tokens/s {first / seconds:6.2f}")
    print(f"GPU memory at most {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB")
    exact = Classifier(bundle, device="cpu", packed=False).forward(items[:CHECKED])
    half = packed.forward(items[:CHECKED])
    differences = [abs(a[0] - b[0]) for a, b in zip(exact, half, strict=True)]
    flips = sum((a[0] > 0.5) != (b[0] > 0.5) for a, b in zip(exact, half, strict=True))
    print(
        f"scores of {CHECKED} texts against float32 on the CPU: differ by {max(differences):.4f} at most, "
        f"{sum(differences) / CHECKED:.5f} on average; {flips} labels differ"
    )


def _seconds(
    forward: Callable[[Sequence[EncodedText]], object], batches: list[Sequence[EncodedText]]
) -> float:
    """Return the seconds for all batches in sequence, until the last answer is complete."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for batch in batches:
        forward(batch)
    torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
