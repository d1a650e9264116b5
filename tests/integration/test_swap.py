"""Tests of model changes in a replica under load: one version per request, safe failures, freed memory."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ray.serve.schema import ReplicaRank

import serve_app.model.classifier
import serve_app.replica.deployment
import serve_app.replica.loaded_model
from serve_app.errors import BundleNotFoundError, QueueFullError, ServiceError
from serve_app.interface import PredictionBatch
from serve_app.model.bundle import write_manifest
from serve_app.replica import loaded_model
from serve_app.replica.autoscaling_stats import AutoscalingStats
from serve_app.replica.deployment import ClassifierReplica
from tests.integration.models import save

PATIENCE_S = 60
TEXTS = ["a b c", "z y", "m"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return three bundles whose scores differ, and one with the wrong weights for its manifest."""
    root = tmp_path_factory.mktemp("models")
    seeds = {"one": 27, "two": 0, "three": 2, "damaged": 3}  # the labels of "one" depend on the text
    for version, seed in seeds.items():
        folder = save(root / version, seed=seed)
        write_manifest(folder, name="tiny", version=version, labels=("bad", "so so", "good"))
    with (root / "damaged" / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    return {folder.name: str(folder) for folder in root.iterdir()}


@pytest.fixture
async def replica(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ClassifierReplica]:
    monkeypatch.setenv("SENTIMENT_REPLICA_CPUS", "1")
    replica = ClassifierReplica()
    yield replica
    for live in [replica._live, replica._shadow.live if replica._shadow else None]:
        if live is not None:
            await live.batcher.close()


def rank(number: int) -> ReplicaRank:
    return ReplicaRank(rank=number, node_rank=0, local_rank=number)


def canary(champion: str, model: str, **options: Any) -> dict[str, Any]:
    return {"champion": champion, "canary": {"model": model, **options}}


async def ask(replica: ClassifierReplica, texts: list[str] = TEXTS) -> PredictionBatch:
    return await replica.classify(texts, deadline=time.monotonic() + PATIENCE_S)


def scores(answer: PredictionBatch) -> list[list[float]]:
    return [[round(score, 4) for score in result.scores] for result in answer.results]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for belongs to other threads
            await asyncio.sleep(0.01)


async def test_under_load_every_request_is_wholly_of_one_version(
    replica: ClassifierReplica, models: dict[str, str]
) -> None:
    alone = {}
    for version in ("one", "two"):
        await replica.reconfigure({"champion": models[version]}, rank(0))
        alone[version] = scores(await ask(replica))
    assert alone["one"] != alone["two"]
    answers: list[PredictionBatch] = []
    go_on = True

    async def load() -> None:
        while go_on:
            answers.append(await ask(replica))

    users = [asyncio.create_task(load()) for _ in range(8)]
    for version in ("one", "two", "one"):
        await replica.reconfigure(canary(models["two"], models[version]), rank(0))
        expected = len(answers) + 40
        await until(lambda expected=expected: len(answers) >= expected)  # type: ignore[misc]
    go_on = False
    await asyncio.gather(*users)  # none failed
    assert {answer.model.version for answer in answers} == {"one", "two"}
    assert all(scores(answer) == alone[answer.model.version] for answer in answers)


async def test_a_request_that_is_being_tokenised_ends_on_the_model_it_began_with(
    replica: ClassifierReplica, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    expected = scores(await ask(replica, ["a b " * 1500]))
    old = replica._live
    assert old is not None
    tokenised, go_on = asyncio.Event(), asyncio.Event()
    encode = old.encode

    async def slow(texts: list[str], **options: Any) -> Any:
        items = await encode(texts, **options)
        tokenised.set()
        await go_on.wait()
        return items

    monkeypatch.setattr(old, "encode", slow)
    asked = asyncio.create_task(ask(replica, ["a b " * 1500]))
    await tokenised.wait()
    await replica.reconfigure({"champion": models["two"]}, rank(0))
    assert replica.live.version == "two"
    go_on.set()
    answer = await asked
    assert answer.model.version == "one" and scores(answer) == expected


async def test_what_was_asked_is_counted_on_across_a_change_of_model(
    replica: ClassifierReplica, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "_settings", replica._settings.model_copy(update={"max_queue_items": 4}))
    assert replica.record_autoscaling_stats() == asdict(AutoscalingStats())
    tokens = 0
    for number, version in enumerate(("one", "two"), 1):
        await replica.reconfigure({"champion": models[version]}, rank(0))
        tokens += sum(result.tokens for result in (await ask(replica)).results)
        seen = replica.record_autoscaling_stats()
        assert (seen["requests"], seen["tokens"], seen["refused"], seen["ahead_s"]) == (number, tokens, 0, 0)
        assert seen["capacity_tokens_per_s"] > 0, "the warm-up has shown it"
    assert replica._live is not None
    batcher, entered, go_on = replica._live.batcher, threading.Event(), threading.Event()
    forward = batcher._forward

    def held(batch: Any, alone: bool) -> Any:
        entered.set()
        assert go_on.wait(PATIENCE_S)
        return forward(batch, alone)

    monkeypatch.setattr(batcher, "_forward", held)
    first = asyncio.create_task(ask(replica, ["a"]))
    await until(entered.is_set)
    second = asyncio.create_task(ask(replica, ["a", "b", "c", "d"]))
    await until(lambda: batcher.waiting_items == 4)
    with pytest.raises(QueueFullError):
        replica.check_room(body_bytes=10)
    replica.check_room()  # a body of unknown size may be a bulk request, and none of these is pending
    seen = replica.record_autoscaling_stats()
    assert (seen["requests"], seen["refused"]) == (4, 1) and seen["ahead_s"] > 0
    go_on.set()
    await asyncio.gather(first, second)


async def test_the_old_model_is_freed(
    replica: ClassifierReplica, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []
    build = loaded_model._build

    def remembering(*arguments: Any) -> Any:
        bundle, scorer = build(*arguments)
        weights: Any = getattr(scorer, "_model", None) or getattr(scorer, "_graph", None)
        made.extend([weakref.ref(scorer), weakref.ref(weights)])
        return bundle, scorer

    monkeypatch.setattr(loaded_model, "_build", remembering)
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    await ask(replica)
    await replica.reconfigure({"champion": models["two"]}, rank(0))
    # Without the cycle collector: Serve freezes the objects that exist at the start, which it then ignores.
    await until(lambda: made[0]() is None and made[1]() is None)
    assert made[2]() is not None and (await ask(replica)).model.version == "two"


@pytest.mark.parametrize(("bad", "reason"), [("damaged", "digest-mismatch"), ("none", "bundle-not-found")])
async def test_a_failed_load_leaves_the_old_one_and_is_told(
    replica: ClassifierReplica, models: dict[str, str], bad: str, reason: str
) -> None:
    uri = models.get(bad, str(Path(models["one"]).parent / "none"))
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    await replica.reconfigure(canary(models["one"], uri), rank(0))
    status = replica.status
    assert (status.state, status.role) == ("failed", "champion")
    assert status.failed is not None
    assert (status.failed.uri, status.failed.reason) == (uri, reason)
    assert (await ask(replica)).model.version == "one"
    replica.check_health()
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    assert (replica.status.state, replica.status.failed) == ("live", None)


async def test_the_gauges_are_set_again_and_again_though_nobody_asks(
    replica: ClassifierReplica, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(serve_app.replica.deployment, "_METRICS_INTERVAL_S", 0.01)
    monkeypatch.setattr(replica._metrics, "model", lambda model, role: shown.append(model.version))
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    await until(lambda: shown.count("one") > 3)
    await replica.reconfigure({"champion": models["two"]}, rank(0))
    await until(lambda: shown.count("two") > 3)
    assert shown == sorted(shown), "the old one is set no more"


async def test_a_replica_that_can_show_no_metrics_is_not_well(
    replica: ClassifierReplica, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_app.replica.deployment, "_METRICS_INTERVAL_S", 0.01)
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    replica.check_health()
    monkeypatch.setattr(replica._metrics, "waiting", lambda items: 1 / 0)
    await until(lambda: replica._reporting is not None and replica._reporting.done())
    with pytest.raises(ZeroDivisionError):
        replica.check_health()


async def test_a_failed_load_is_tried_again_when_asked(
    replica: ClassifierReplica, models: dict[str, str], tmp_path: Path
) -> None:
    later = tmp_path / "later"
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    wanted = canary(models["one"], str(later))
    await replica.reconfigure(wanted, rank(0))
    assert replica.status.state == "failed"
    shutil.copytree(models["two"], later)
    await replica.reconfigure(wanted, rank(0))
    assert (replica.status.state, replica.live.version) == ("live", "two")


async def test_the_first_champion_that_fails_fails_the_replica(
    replica: ClassifierReplica, models: dict[str, str]
) -> None:
    with pytest.raises(BundleNotFoundError):
        await replica.reconfigure({"champion": "/nowhere"}, rank(0))
    with pytest.raises(ServiceError):
        _ = replica.status


async def test_the_cycle_collector_rests_while_the_first_model_comes_and_no_longer(
    replica: ClassifierReplica, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    collects: list[bool] = []
    build = serve_app.replica.loaded_model._build

    def watched(*arguments: Any) -> Any:
        collects.append(gc.isenabled())
        return build(*arguments)

    monkeypatch.setattr(serve_app.replica.loaded_model, "_build", watched)
    with pytest.raises(BundleNotFoundError):
        await replica.reconfigure({"champion": "/nowhere"}, rank(0))
    assert gc.isenabled()
    for version in ("one", "two"):
        await replica.reconfigure({"champion": models[version]}, rank(0))
    assert collects == [False, False, True]
    assert gc.isenabled()


async def test_a_new_pod_of_a_bad_canary_serves_the_champion(
    replica: ClassifierReplica, models: dict[str, str]
) -> None:
    await replica.reconfigure(canary(models["one"], models["damaged"]), rank(0))
    assert (await ask(replica)).model.version == "one"
    assert replica.status.state == "failed"


async def test_the_same_twice_does_nothing(replica: ClassifierReplica, models: dict[str, str]) -> None:
    wanted = canary(models["one"], models["two"])
    await replica.reconfigure(wanted, rank(0))
    live = replica._live
    await replica.reconfigure(wanted, rank(0))
    await replica.reconfigure({"champion": models["two"]}, rank(0))  # promoted: it serves that model already
    assert replica._live is live and replica.status.role == "champion"


async def test_of_several_changes_the_last_counts(replica: ClassifierReplica, models: dict[str, str]) -> None:
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    wanted = [{"champion": models[name]} for name in ("two", "damaged", "three")]
    await asyncio.gather(*(replica.reconfigure(config, rank(0)) for config in wanted))
    assert replica.live.version == "three" and replica.status.state == "live"


async def test_a_change_of_rank_changes_the_model(replica: ClassifierReplica, models: dict[str, str]) -> None:
    wanted = canary(models["one"], models["two"])
    served = []
    for number in (3, 0, 1):
        await replica.reconfigure(wanted, rank(number))
        served.append((replica.live.version, replica.status.role, replica.status.rank))
    assert served == [("one", "champion", 3), ("two", "canary", 0), ("one", "champion", 1)]


async def test_a_shadow_scores_the_same_texts_and_never_answers(
    replica: ClassifierReplica, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: dict[str, int] = {}

    def count(outcomes: Mapping[str, int], *, version: str) -> None:
        assert version == "two"
        for outcome, texts in outcomes.items():
            counted[outcome] = counted.get(outcome, 0) + texts

    texts = [f"{a} {b}" for a in "abcdefgh" for b in "stuvwxyz"]
    labels = {}
    for version in ("two", "one"):
        await replica.reconfigure({"champion": models[version]}, rank(0))
        results = (await ask(replica, texts)).results
        labels[version] = [result.scores.index(max(result.scores)) for result in results]
    differ = sum(one != two for one, two in zip(labels["one"], labels["two"], strict=True))
    assert 0 < differ < len(texts)
    monkeypatch.setattr(replica._metrics, "shadow", count)
    await replica.reconfigure(canary(models["one"], models["two"], shadow=True), rank(0))
    assert (replica.status.role, replica.status.shadow) == ("shadow", "two")
    answer = await ask(replica, texts)
    assert answer.model.version == "one"
    await until(lambda: sum(counted.values()) == len(texts))
    assert counted == {"agree": len(texts) - differ, "disagree": differ}
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    assert replica._shadow is None and replica.status.role == "champion"


@pytest.fixture
def neutral_below(monkeypatch: pytest.MonkeyPatch) -> float:
    """Set the threshold of NEUTRAL answers; requested before `replica`, which reads it."""
    monkeypatch.setenv("SENTIMENT_NEUTRAL_BELOW", "0.999")
    return 0.999


async def test_the_settings_decide_which_answers_are_neutral(
    neutral_below: float, replica: ClassifierReplica, models: dict[str, str], tmp_path: Path
) -> None:
    own = save(tmp_path / "own", seed=27)
    write_manifest(own, name="tiny", version="own", labels=("NEGATIVE", "Neutral", "POSITIVE"))
    await replica.reconfigure({"champion": models["one"]}, rank(0))
    [result, *_] = (await ask(replica)).results
    assert max(result.scores) < neutral_below
    assert replica.live.answer_label(result.scores) == "NEUTRAL"
    assert replica.live.answer_labels == ("bad", "so so", "good", "NEUTRAL")
    await replica.reconfigure({"champion": str(own)}, rank(0))
    assert replica.live.answer_labels == ("NEGATIVE", "Neutral", "POSITIVE")  # its own label has that name
