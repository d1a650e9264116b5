"""Tests of the settings: errors name the fault and its location, and accepted settings are consistent."""

from pathlib import Path

import pytest

from cluster.errors import EnvironmentSettingsError
from cluster.kuberay.settings import environments, read_environment


def test_the_environments_that_ship() -> None:
    assert environments() == ("dev", "prod")


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("serve.max_pods=7", 7),
        ("serve.scaling.requests_per_minute=900", 900),
        ("workers.0.max_pods=20", 20),
        ("serve.model=s3://models/senti/7", "s3://models/senti/7"),
        ('nodes.capacity=["on-demand"]', ("on-demand",)),
        ("environment.SENTIMENT_MAX_BATCH_TOKENS='8192'", "8192"),
    ],
)
def test_set_changes_one_place(change: str, value: object) -> None:
    environment = read_environment("prod", [change])
    place: object = environment
    for part in change.partition("=")[0].split("."):
        if isinstance(place, tuple):
            place = place[int(part)]
        elif isinstance(place, dict):
            place = place[part]
        else:
            place = getattr(place, part)
    assert place == value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("serve.max_podz=7", "serve.max_podz"),
        ("serve.scaling.per_hour=7", "serve.scaling.per_hour"),
        ("serve.max_pods=35", "more than the 34 of all worker groups"),
        ("serve.min_pods=17", "more than max_pods"),
        ("workers.0.instance_type=g4dn.xlarge", "is not known"),
        ('workers.0.instance_type=["g5.4xlarge", "g4dn.xlarge"]', "'g4dn.xlarge' is not known"),
        ("workers.0.cpus=3", "are derived from instance_type"),
        ("workers.0.priority=-1", "workers.0.priority"),
        ("workers.0.capacity=[]", "workers.0.capacity"),
        ("workers=[{name='a', cpus=2, memory_gib=4, max_pods=16, capacity=['spot']}]", "set instance_type"),
        ("nodes.start_timeout_s=60", "nodes.start_timeout_s"),
        ("workers.9.max_pods=1", "no such key"),
        (
            "workers=[{name='a', instance_type='g5.xlarge', max_pods=9},"
            " {name='a', instance_type='g5.xlarge', max_pods=9}]",
            "same name",
        ),
        (
            "upgrade={type='NewClusterWithIncrementalUpgrade', gateway_class='istio', step_percent=50}",
            "more than surge_percent",
        ),
        ("upgrade.type=NewClusterWithIncrementalUpgrade", "needs gateway_class"),
        ("image=registry/sentiment:latest", "latest"),
        ("image=registry/sentiment", "image"),
        ("serve.max_pods", "key=value"),
        ("name=Sentiment", "name"),
        (f"name={'a' * 48}", "name"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(change: str, says: str) -> None:
    with pytest.raises(EnvironmentSettingsError, match=says):
        read_environment("prod", [change])


def test_a_missing_file_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentSettingsError, match="dev, prod"):
        read_environment("staging")
    (tmp_path / "broken.toml").write_text("[serve")
    with pytest.raises(EnvironmentSettingsError, match="is not TOML"):
        read_environment(str(tmp_path / "broken.toml"))


def test_a_replica_fits_every_pod_and_no_pod_holds_two() -> None:
    environment = read_environment("prod")
    for group in environment.workers:
        assert group.size.cpus // environment.replica.cpus == 1
        assert group.gpus == 1
