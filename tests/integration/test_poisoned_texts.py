"""Tests of texts on which a real model or tokenizer fails: only they fail, and the replica stays healthy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import torch
from ray.serve.schema import ReplicaRank
from tokenizers import normalizers, processors
from transformers import AutoModelForSequenceClassification

from serve_app.errors import UnprocessableTextError
from serve_app.replica.deployment import ClassifierReplica
from tests.integration.models import save, tokenizer

GOOD = [f"{first} m {second}" for first in "abcdef" for second in "uvwxyz"]


def not_a_number(folder: Path) -> str:
    """Create a model that computes no number for one word."""
    save(folder, "bert")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        # The value is finite, but too large to be squared.
        model.get_input_embeddings().weight[tokenizer().convert_tokens_to_ids("q")] = 1e30
    model.save_pretrained(folder)
    return "q"


POISONS = pytest.mark.parametrize("make", [not_a_number], ids=lambda make: make.__name__)


@pytest.fixture
async def replica(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ClassifierReplica]:
    monkeypatch.setenv("SENTIMENT_REPLICA_CPUS", "2")
    replica = ClassifierReplica()
    yield replica
    if replica._live is not None:
        await replica._live.batcher.close()


async def scores(replica: ClassifierReplica, *texts: str) -> list[list[float]]:
    answer = await replica.classify(texts, deadline=time.monotonic() + 60)
    return [list(result.scores) for result in answer.results]


@POISONS
async def test_only_the_request_with_the_text_fails(
    replica: ClassifierReplica, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    poison = make(tmp_path / "model")
    await replica.reconfigure(
        {"champion": str(tmp_path / "model")}, ReplicaRank(rank=0, node_rank=0, local_rank=0)
    )
    expected = {text: (await scores(replica, text))[0] for text in GOOD}
    calls = []
    for index, text in enumerate(GOOD):
        calls.append(scores(replica, text))
        if index % 9 == 4:
            calls.append(scores(replica, GOOD[0], poison))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(failures) == 4
    for failure in failures:
        assert isinstance(failure, UnprocessableTextError) and failure.index == 1
        assert poison not in str(failure)
    answered = [answer for answer in answers if not isinstance(answer, BaseException) and len(answer) == 1]
    for text, [row] in zip(GOOD, answered, strict=True):
        assert row == pytest.approx(expected[text], abs=1e-4)
    replica.check_health()


@POISONS
async def test_a_text_that_comes_alone_leaves_the_replica_healthy(
    replica: ClassifierReplica, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    poison = make(tmp_path / "model")
    await replica.reconfigure(
        {"champion": str(tmp_path / "model")}, ReplicaRank(rank=0, node_rank=0, local_rank=0)
    )
    try:
        await scores(replica, poison)
    except UnprocessableTextError as error:
        assert error.index == 0
    replica.check_health()
    assert await scores(replica, GOOD[0])


async def test_a_text_without_a_token_is_refused_by_its_place(
    replica: ClassifierReplica, tmp_path: Path
) -> None:
    save(tmp_path / "model")
    bare = tokenizer()
    bare.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    bare.backend_tokenizer.normalizer = normalizers.Replace("-", "")
    bare.save_pretrained(tmp_path / "model")
    await replica.reconfigure(
        {"champion": str(tmp_path / "model")}, ReplicaRank(rank=0, node_rank=0, local_rank=0)
    )
    with pytest.raises(UnprocessableTextError, match="no token") as failure:
        await scores(replica, "a", "-")
    assert failure.value.index == 1
    assert replica.record_autoscaling_stats()["ahead_s"] == 0
    assert await scores(replica, "a")
