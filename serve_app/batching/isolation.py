"""Isolation of texts on which a model fails: a failed batch runs again in halves, so that only they fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def isolate(
    forward: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    owners: Sequence[object],
    error: Exception,
    probe: Item | None,
) -> tuple[list[Result | Exception], Exception | None]:
    """Determine which items of a failed batch fail, and run the others.

    The probe runs first: if it fails, the device is at fault and no item is tried. Otherwise the batch is
    split in halves until each failing part is a single item: one failing item of n costs about 2 log2(n)
    forward passes. A request fails with its first failing item; its other items are not run again.

    Args:
        forward: Runs a batch; returns one result per item.
        items: Items of the failed batch.
        owners: Request of each item.
        error: Error of the failed batch.
        probe: Item on which the model is known to succeed. Without it, the device is at fault if every item
            fails.

    Returns:
        The result or the error of each item; and the device's error, or None. With a device error, it is the
        error of every item.
    """
    if probe is not None:
        try:
            forward([probe])
        except Exception as device_error:
            return [device_error] * len(items), device_error
    results: list[Result | Exception] = [error] * len(items)
    failed: set[object] = set()
    parts = _halves(list(range(len(items))))
    passed = probe is not None
    while parts:
        part = [index for index in parts.pop() if owners[index] not in failed]
        if not part:
            continue
        try:
            answers = forward([items[index] for index in part])
        except Exception as part_error:
            parts += _halves(part)
            for index in part:
                results[index] = part_error
            if len(part) == 1:
                failed.add(owners[part[0]])
        else:
            passed = True
            for index, answer in zip(part, answers, strict=True):
                results[index] = answer
    return results, None if passed else error


def _halves(part: list[int]) -> list[list[int]]:
    """Return the two halves of a part, the second one first; nothing for a single item."""
    middle = len(part) // 2
    return [part[middle:], part[:middle]] if middle else []
