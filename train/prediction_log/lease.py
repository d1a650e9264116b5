"""Lease on the log, so that one writer runs at a time: a document next to the log, written conditionally."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from train.errors import LogError, RegistryError
from train.storage.base import Place, Stored, open_place

_KEY = "compacting.json"
_LEASE = timedelta(hours=1)
"""Time without a renewal after which the lease expires. The holder renews it before each file that it
writes."""


@contextmanager
def leased(uri: str, now: Callable[[], datetime]) -> Iterator[Callable[[], None]]:
    """Hold the lease while the block runs.

    Yields:
        Function that renews the lease. It raises LogError if another holder has had the lease since, even
            if that one has released it: the caller's view of the log is then outdated.

    Raises:
        LogError: another run holds the lease, or the location cannot be reached.
    """
    try:
        place = open_place(uri)
        name = uuid.uuid4().hex
        stored = place.read(_KEY)
        if stored is not None and _until(stored) > now():
            raise LogError(f"{uri} is being compacted by another run; retry after {_until(stored)}")
        if not _swap(place, name, now() + _LEASE, stored):
            raise LogError(f"{uri}: another run started to compact it at the same time; retry")

        def renew() -> None:
            held = place.read(_KEY)
            if held is None or _holder(held) != name or not _swap(place, name, now() + _LEASE, held):
                raise LogError(
                    f"{uri}: this run was paused for more than {_LEASE}, and another run compacted the log "
                    "meanwhile; nothing is lost: retry"
                )

        try:
            yield renew
        finally:
            _give_back(place, name)
    except RegistryError as error:
        raise LogError(str(error)) from error


def _give_back(place: Place, name: str) -> None:
    """Release the lease, unless another run has taken it."""
    stored = place.read(_KEY)
    if stored is not None and _holder(stored) == name:
        _swap(place, name, datetime.fromtimestamp(0, UTC), stored)


def _swap(place: Place, name: str, until: datetime, stored: Stored | None) -> bool:
    content = json.dumps({"holder": name, "until": until.isoformat()}).encode()
    return place.swap(_KEY, content, tag=stored.tag if stored else None)


def _holder(stored: Stored) -> str:
    return str(json.loads(stored.content)["holder"])


def _until(stored: Stored) -> datetime:
    return datetime.fromisoformat(json.loads(stored.content)["until"])
