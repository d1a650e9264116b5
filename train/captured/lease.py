"""One at a time: a lease on the log, kept beside it in a document that only one writer can win."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from train.errors import LogInvalid, RegistryError
from train.registry.place import Place, open_place

_KEY = "compacting.json"
_LEASE = timedelta(hours=1)
"""After so long without a sign of life the holder is taken for dead. It gives one before each folder."""


@contextmanager
def leased(uri: str, now: Callable[[], datetime]) -> Iterator[Callable[[], None]]:
    """Hold the lease while the block runs.

    Yields:
        What renews the lease; raises LogInvalid if somebody else has it by now.

    Raises:
        LogInvalid: somebody else has it, or the place cannot be reached.
    """
    try:
        place = open_place(uri)
        name = uuid.uuid4().hex

        def renew() -> None:
            _take(place, uri, name, now(), now() + _LEASE)

        renew()
        try:
            yield renew
        finally:
            _give_back(place, name)
    except RegistryError as error:
        raise LogInvalid(str(error)) from error


def _take(place: Place, uri: str, name: str, now: datetime, until: datetime) -> None:
    stored = place.read(_KEY)
    if stored is not None:
        held = json.loads(stored.content)
        held_until = datetime.fromisoformat(held["until"])
        if held["holder"] != name and held_until > now:
            raise LogInvalid(f"{uri} is being compacted by another run, which has until {held_until}; wait")
    if not place.swap(_KEY, _content(name, until), tag=stored.tag if stored else None):
        raise LogInvalid(f"{uri}: another run began to compact it at the same moment; try again")


def _give_back(place: Place, name: str) -> None:
    """Nobody holds it from now on; if somebody else has taken it, it is theirs."""
    stored = place.read(_KEY)
    if stored is not None and json.loads(stored.content)["holder"] == name:
        place.swap(_KEY, _content(name, datetime.fromtimestamp(0, UTC)), tag=stored.tag)


def _content(name: str, until: datetime) -> bytes:
    return json.dumps({"holder": name, "until": until.isoformat()}).encode()
