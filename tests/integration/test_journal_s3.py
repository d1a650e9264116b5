"""Tests of a rollout's journal in S3, which is moto's over HTTP: storage, fencing, and another machine."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import boto3
import pytest

from cluster.rollout.errors import JournalLockedError, JournalUnavailableError
from cluster.rollout.journal.base import open_journal
from cluster.rollout.state import ModelVersion, RolloutState
from tests.integration.aws import PATIENCE_S, Wire, aws
from tests.unit.cluster.rollout.world import QUICK, World

ADDRESS = "s3://data/rollout"
WRITERS = 6


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with aws() as account:
        account.point_at(monkeypatch)
        boto3.session.Session().client("s3").create_bucket(Bucket="data")
        yield account


def test_another_machine_goes_on_with_a_held_rollout(wire: Wire, tmp_path: Path) -> None:
    world = World(tmp_path)
    held = world.controller(journal=open_journal(ADDRESS)).start(ModelVersion("good"), QUICK, hold=True)
    assert held.held and open_journal(ADDRESS).rollout() == held
    rollout = world.controller(journal=open_journal(ADDRESS)).resume()
    assert rollout is not None and rollout.state is RolloutState.PROMOTED
    assert not open_journal(ADDRESS).is_held()


def test_an_entry_whose_answer_is_lost_is_written_once(wire: Wire, tmp_path: Path) -> None:
    world, journal = World(tmp_path), open_journal(ADDRESS)
    wire.lost.add("s3 Put")  # the Put of the lock
    assert (
        world.controller(journal=journal).start(ModelVersion("failing"), QUICK).state
        is RolloutState.ROLLED_BACK
    )
    assert open_journal(ADDRESS).entries() == journal.entries()


def test_of_many_at_once_one_is_at_work(wire: Wire) -> None:
    barrier = Barrier(WRITERS)

    def try_to_hold(_: int) -> bool:
        journal = open_journal(ADDRESS)
        barrier.wait(PATIENCE_S)
        try:
            with journal.held():
                barrier.wait(PATIENCE_S)  # until all have tried
                return True
        except JournalLockedError:
            barrier.wait(PATIENCE_S)
            return False

    with ThreadPoolExecutor(WRITERS) as pool:
        assert sum(pool.map(try_to_hold, range(WRITERS))) == 1


def test_a_bucket_that_is_not_there_or_refuses_is_named(wire: Wire) -> None:
    with pytest.raises(JournalUnavailableError, match="NoSuchBucket"):
        open_journal("s3://nowhere/rollout").rollout()
    wire.refused.add("s3 Get")
    with pytest.raises(JournalUnavailableError, match="s3:GetObject"):
        open_journal(ADDRESS).is_held()
