"""Tests of the registry on MLflow's SQLite and a folder: verbs end to end, races, and writers that die."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from serve_app.errors import ChecksumMismatchError, InvalidBundleError
from serve_app.model.bundle import MANIFEST, BaseRef, read_manifest, verify, write_manifest
from serve_app.model.checksums import sha256_files
from serve_app.model.resolver import fetch
from tests.integration.models import save
from tests.integration.registries import BUILTIN, Meeting, together, write_run
from train.__main__ import main
from train.errors import (
    AliasConflictError,
    DamagedArtifactError,
    RegistryRequestError,
    RegistryUnavailableError,
    UnknownVersionError,
    VersionConflictError,
)
from train.registry import Expect, Registry, Version, open_registry
from train.registry.mlflow_backend import Tracking
from train.storage.local import FolderPlace

ROOT = Path(__file__).parents[2]
WRITERS = 8
PROCESS_TIMEOUT_S = 120

DIE_BEFORE_THE_MIRROR = """
import os, sys
from train.registry import open_registry
from train.registry.mlflow_backend import Tracking
registry = open_registry(sys.argv[1])
Tracking.point = lambda *_: os._exit(9)
registry.set_alias(sys.argv[2], "champion", sys.argv[3])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def uri(folder: Path) -> str:
    return f"sqlite:///{folder}/registry.db"


@pytest.fixture(scope="module")
def registry(uri: str) -> Registry:
    """Return one registry for all tests, since a new database takes seconds; each test has its own model."""
    return open_registry(uri)


@pytest.fixture(scope="module")
def mlflow(registry: Registry, uri: str) -> MlflowClient:
    """Return MLflow's own client."""
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a model name that no other test uses."""
    return re.sub(r"[^a-z0-9.]+", "-", request.node.name.lower()).strip("-")


@pytest.fixture
def say(uri: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Return a function that runs a verb on the registry and returns its output.

    The output is parsed if the verb prints JSON (`--json`), otherwise it is text.
    """

    def run(verb: str, *arguments: str, exits: int = 0) -> Any:
        capsys.readouterr()
        assert main([verb, *arguments, "--registry", uri]) == exits
        printed = capsys.readouterr()
        if exits:
            return printed.err
        return json.loads(printed.out) if "--json" in arguments else printed.out

    return run


def versions(registry: Registry, name: str, tmp_path: Path, *wanted: str) -> list[Version]:
    """Return registered versions of one model."""
    return [
        registry.register(write_run(tmp_path / version, name=name, version=version)) for version in wanted
    ]


def test_the_verbs_from_a_run_to_a_served_bundle(
    say: Callable[..., Any], mlflow: MlflowClient, folder: Path, name: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", name=name)
    digest = read_manifest(run / "bundle").digest

    first = say("register", str(run), "--json")
    say("register", str(run), "--version", "2", "--parent", f"{name}/1")
    assert say("alias", f"{name}@champion", "1", "--expect", "none").startswith(
        f"{name}@champion points to 1"
    )
    say("alias", f"registry:{name}@champion", "2", "--expect", "1")
    say("alias", f"{name}@canary", "1")
    shown = say("show", f"{name}@champion", "--json")
    exported = tmp_path / "out" / "bundle"
    say("export", f"{name}@previous", str(exported))

    assert (first["digest"], first["parent"]["name"]) == (digest, "builtin-sentiment")
    found = {each["version"]: each for each in say("list", name, "--json")}
    assert found["1"]["aliases"] == ["canary", "previous"]
    assert found["2"]["aliases"] == ["champion"]
    assert found["2"]["parent"] == {"name": name, "version": "1", "digest": digest}
    assert [move["version"] for move in shown["history"]] == ["1", "2"]
    assert shown["parameters"]["data.0.passes"] == "2.0"
    assert shown["metrics"]["training_wall_s"] == 12.5
    assert len(shown["files"]) == 3
    assert fetch(first["uri"], cache_dir=tmp_path / "cache").manifest.digest == digest
    assert read_manifest(exported).digest == digest
    verify(exported, read_manifest(exported))
    assert [path.name for path in exported.parent.iterdir()] == ["bundle"]

    run_id = first["run_id"]
    assert [(m.step, m.value) for m in mlflow.get_metric_history(run_id, "history.loss")] == [
        (10, 0.7),
        (20, 0.3),
    ]
    assert {file.path for file in mlflow.list_artifacts(run_id)} == {
        "evaluation",
        "learning_curves.png",
        "report.json",
    }
    assert mlflow.get_run(run_id).info.status == "FINISHED"
    assert mlflow.get_registered_model(name).aliases == {"canary": 1, "champion": 2, "previous": 1}


def test_the_tables_say_what_there_is(
    say: Callable[..., Any], registry: Registry, name: str, tmp_path: Path
) -> None:
    registry.register(write_run(tmp_path / "1", name=name, version="1", seed=3))
    registry.register(write_run(tmp_path / "2", name=name, version="2", seed=4))
    say("alias", f"{name}@champion", "1")

    listed, shown = say("list", name), say("show", f"{name}@champion")
    compared = say("compare", f"{name}@champion", f"{name}/2")

    assert f"| {name}/1 | champion |" in listed and f"| {name}/2 | - |" in listed
    figure = read_manifest(BUILTIN).metrics["held_out"]["long_reviews"]["balanced_accuracy"]
    assert "| uri | file:///" in shown
    assert f"| held_out.long_reviews.balanced_accuracy | {figure:.4g} |" in shown
    assert "| seed | 3 |" in shown and "/artifacts/report.json" in shown and "| 1 | " in shown
    assert "| history.loss | 0.3 | 0.4 | +0.1 |" in compared
    assert "| seed | 3 | 4 |" in compared


def test_any_hugging_face_folder_becomes_a_version(
    say: Callable[..., Any], registry: Registry, name: str, tmp_path: Path
) -> None:
    source = save(tmp_path / "model")
    (source / "training_args.bin").write_bytes(b"a pickle")

    made = say("import", str(source), "--name", name, "--version", "a1", "--labels", "-", "0", "+", "--json")

    found = fetch(made["uri"], cache_dir=tmp_path / "cache")
    assert found.manifest.labels == ("-", "0", "+")
    assert found.manifest.files == {
        file: digest
        for file, digest in sha256_files(source, [path.name for path in source.iterdir()]).items()
        if file != "training_args.bin"
    }
    assert registry.get(f"{name}/a1").source == source.as_uri()
    error = say("import", str(source), "--name", name, "--labels", "a", "b", exits=1)
    assert "3 classes, ['bad', 'so so', 'good']; got 2 labels" in error


def test_the_built_in_model_is_imported_as_it_is(say: Callable[..., Any]) -> None:
    made = say("import", "builtin:", "--json")

    assert made["digest"] == read_manifest(BUILTIN).digest


def test_a_model_that_does_not_answer_is_not_imported(registry: Registry, name: str, tmp_path: Path) -> None:
    source = save(tmp_path / "model")
    (source / "tokenizer.json").write_text("{}")

    with pytest.raises(InvalidBundleError):
        registry.import_model(str(source), name=name, version="1")

    assert not registry.versions(name)


def test_versions_do_not_change(registry: Registry, name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", name=name)
    other = write_run(tmp_path / "other", name=name, card="another card")
    first = registry.register(run)

    assert registry.register(run) == first
    with pytest.raises(VersionConflictError) as refused:
        registry.register(other)

    assert first.digest in str(refused.value)
    assert read_manifest(other / "bundle").digest in str(refused.value)
    assert "--version" in str(refused.value)
    assert registry.versions(name) == [first]
    assert registry.register(other, version="2").number == 2


def test_of_two_bundles_registered_at_once_as_one_version_one_is(
    registry: Registry, uri: str, folder: Path, name: str, tmp_path: Path
) -> None:
    place = FolderPlace(folder / "artifacts")
    # Each writer makes two swaps: the mark of an active upload, and the claim.
    racing = Registry(Tracking(uri, place.uri("runs")), Meeting(place, 2), now=lambda: datetime.now(UTC))
    runs = [write_run(tmp_path / card, name=name, card=card) for card in ("one", "other")]

    answers = together([lambda run=run: racing.register(run) for run in runs])

    registered = [answer for answer in answers if isinstance(answer, Version)]
    assert len(registered) == 1
    assert [type(answer) for answer in answers if answer not in registered] == [VersionConflictError]
    assert registry.versions(name) == registered


def test_the_same_bundle_registered_by_many_at_once_is_one_version(
    registry: Registry, mlflow: MlflowClient, name: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", name=name)

    answers = together([lambda: registry.register(run)] * 4)

    assert {answer.digest for answer in answers} == {read_manifest(run / "bundle").digest}
    [entry] = mlflow.search_model_versions(f"name='{name}'")
    assert registry.get(f"{name}/1").number == int(entry.version)


def test_a_damaged_bundle_is_not_registered(registry: Registry, name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", name=name)
    (run / "bundle" / "config.json").write_text("{}")

    with pytest.raises(ChecksumMismatchError, match=r"config\.json"):
        registry.register(run)

    assert not registry.versions(name)


def test_a_version_damaged_since_is_refused_by_name_and_put_right_by_registering_again(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", name=name)
    version = registry.register(run)
    weights = Path(version.uri.removeprefix("file://")) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")

    with pytest.raises(DamagedArtifactError, match=r"adapter_model\.safetensors"):
        registry.export(str(version), tmp_path / "out")
    assert not (tmp_path / "out").exists()

    assert registry.register(run) == version
    assert registry.export(str(version), tmp_path / "out") == version


def test_another_bundle_at_the_address_is_refused(registry: Registry, name: str, tmp_path: Path) -> None:
    one, other = versions(registry, name, tmp_path, "1", "2")
    lies, lay = (Path(version.uri.removeprefix("file://")) for version in (one, other))
    shutil.rmtree(lies)
    shutil.copytree(lay, lies)

    with pytest.raises(DamagedArtifactError, match=f"holds another bundle, {other.digest}, not {one.digest}"):
        registry.export(str(one), tmp_path / "out")


def test_nothing_is_exported_over_what_is_there(registry: Registry, name: str, tmp_path: Path) -> None:
    [version] = versions(registry, name, tmp_path, "1")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()

    with pytest.raises(RegistryRequestError, match="is there already"):
        registry.export(str(version), tmp_path / "out")

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_an_adapter_on_a_relative_base_takes_another_address(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    base = save(tmp_path / "base")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for file in ("config.json", "adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(BUILTIN / file, adapter / file)
    pins = sha256_files(base, ["config.json", "model.safetensors"])
    write_manifest(
        adapter, name=name, version="1", labels=["N", "P"], base=BaseRef(uri="../base", sha256=pins)
    )

    with pytest.raises(RegistryRequestError, match=r"'\.\./base', a path relative to the bundle"):
        registry.register(adapter)
    with pytest.raises(DamagedArtifactError, match=r"nowhere.* nothing was registered"):
        registry.register(adapter, base=str(tmp_path / "nowhere"))
    assert not registry.versions(name)

    version = registry.register(adapter, base=str(base))
    assert fetch(version.uri, cache_dir=tmp_path / "cache").base_folder == base


def test_what_is_not_there_is_said(registry: Registry, name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownVersionError, match=f"no model '{name}' in the registry; it has: "):
        registry.get(f"{name}/1")
    versions(registry, name, tmp_path, "1", "2")
    registry.set_alias(name, "canary", "2")
    with pytest.raises(UnknownVersionError, match=rf"no version '3' of {name}; it has: 1, 2"):
        registry.set_alias(name, "champion", "3")
    with pytest.raises(
        UnknownVersionError, match=rf"{name}@champion points to no version; its aliases are: canary"
    ):
        registry.get(f"{name}@champion")
    with pytest.raises(UnknownVersionError, match="nothing to remove"):
        registry.delete_alias(name, "champion")
    with pytest.raises(RegistryRequestError, match="is not a version of the registry"):
        registry.delete_alias("../versions", "champion")


def test_an_alias_is_moved_as_expected_or_not_at_all(
    say: Callable[..., Any], registry: Registry, mlflow: MlflowClient, name: str, tmp_path: Path
) -> None:
    versions(registry, name, tmp_path, "1", "2", "3")
    registry.set_alias(name, "champion", "1", expect=Expect.NOTHING)

    error = say("alias", f"{name}@champion", "2", "--expect", "none", exits=3)
    assert f"{name}@champion points to 1 since 20" in error and "not to nothing" in error
    assert "points to 1 since" in say("alias", f"{name}@champion", "2", "--expect", "3", exits=3)
    assert "points to 2, before to 1" in say("alias", f"{name}@champion", "2", "--expect", "1")
    again = registry.set_alias(name, "champion", "2")
    assert again.sequence == 2, "a move to where it points already is none"

    taken = registry.delete_alias(name, "champion", expect="2")
    assert (taken.before, taken.version) == ("2", None)
    assert mlflow.get_registered_model(name).aliases == {"previous": 2}
    assert registry.get(f"{name}@previous").version == "2"
    assert "follows champion" in say("alias", f"{name}@previous", "1", exits=1)


def test_rolling_back_makes_the_bad_version_the_previous_one(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    versions(registry, name, tmp_path, "1", "2")
    for version in ("1", "2", "1"):
        registry.set_alias(name, "champion", version)

    assert registry.get(f"{name}@champion").version == "1"
    assert registry.get(f"{name}@previous").version == "2"


@pytest.mark.parametrize("expect", [Expect.ANYTHING, "0"])
def test_of_many_who_move_an_alias_at_once_one_wins_and_each_other_is_told(
    registry: Registry, mlflow: MlflowClient, uri: str, folder: Path, name: str, tmp_path: Path, expect: Any
) -> None:
    numbers = [str(number) for number in range(WRITERS + 1)]
    versions(registry, name, tmp_path, *numbers)
    registry.set_alias(name, "champion", "0")
    place = FolderPlace(folder / "artifacts")
    racing = Registry(
        Tracking(uri, place.uri("runs")), Meeting(place, WRITERS), now=lambda: datetime.now(UTC)
    )

    answers = together(
        [
            lambda version=version: racing.set_alias(name, "champion", version, expect=expect)
            for version in numbers[1:]
        ]
    )

    told = [answer for answer in answers if isinstance(answer, AliasConflictError)]
    [won] = [answer for answer in answers if answer not in told]
    assert all(f"moved {name}@champion first, to {won.version} since" in str(loser) for loser in told)
    assert [move.version for move in registry.history(name, "champion")] == ["0", won.version]
    assert registry.get(f"{name}@champion").version == won.version
    assert registry.get(f"{name}@previous").version == "0"
    shown = mlflow.get_registered_model(name).aliases
    assert shown == {"champion": int(won.version) + 1, "previous": 1}


def test_writers_who_try_again_leave_every_move_and_mlflow_in_step(
    registry: Registry, mlflow: MlflowClient, name: str, tmp_path: Path
) -> None:
    numbers = [str(number) for number in range(4)]
    versions(registry, name, tmp_path, *numbers)

    def move(version: str) -> None:
        while True:
            try:
                registry.set_alias(name, "canary", version)
                return
            except AliasConflictError:
                continue

    together([lambda version=version: move(version) for version in numbers])

    moves = registry.history(name, "canary")
    assert sorted(str(move.version) for move in moves) == numbers
    assert [move.before for move in moves] == [None, *(move.version for move in moves[:-1])]
    assert mlflow.get_registered_model(name).aliases == {"canary": int(str(moves[-1].version)) + 1}


def test_a_writer_killed_before_mlflow_knows_is_healed_by_the_next_reader(
    registry: Registry, mlflow: MlflowClient, uri: str, name: str, tmp_path: Path
) -> None:
    versions(registry, name, tmp_path, "1", "2")
    registry.set_alias(name, "champion", "1")

    died = subprocess.run(
        [sys.executable, "-c", DIE_BEFORE_THE_MIRROR, uri, name, "2"],
        cwd=ROOT,
        timeout=PROCESS_TIMEOUT_S,
    )

    assert died.returncode == 9
    assert mlflow.get_registered_model(name).aliases == {"champion": 1}, "MLflow lags"
    assert registry.get(f"{name}@champion").version == "2"
    assert mlflow.get_registered_model(name).aliases == {"champion": 2, "previous": 1}


def test_a_move_stands_while_mlflow_cannot_be_told(
    registry: Registry, mlflow: MlflowClient, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    versions(registry, name, tmp_path, "1")

    with pytest.MonkeyPatch.context() as broken:

        def fail(*_: object) -> None:
            raise RegistryUnavailableError("MLflow is away")

        broken.setattr(Tracking, "point", fail)
        registry.set_alias(name, "champion", "1")
        assert registry.get(f"{name}@champion").version == "1"

    assert "MLflow is away" in caplog.text
    registry.versions(name)
    assert mlflow.get_registered_model(name).aliases == {"champion": 1}


def test_an_alias_moved_in_mlflow_alone_is_put_back(
    registry: Registry, mlflow: MlflowClient, name: str, tmp_path: Path
) -> None:
    versions(registry, name, tmp_path, "1", "2")
    registry.set_alias(name, "champion", "1")
    mlflow.set_registered_model_alias(name, "champion", "2")

    assert registry.get(f"{name}@champion").version == "1"
    assert mlflow.get_registered_model(name).aliases == {"champion": 1}


def test_other_artifacts_than_its_own_are_refused(
    registry: Registry, uri: str, name: str, tmp_path: Path
) -> None:
    versions(registry, name, tmp_path, "1")

    with pytest.raises(RegistryRequestError, match="set the artifact store that belongs to the registry"):
        open_registry(uri, str(tmp_path / "elsewhere")).get(f"{name}/1")


def test_models_of_others_in_the_same_mlflow_are_left_alone(
    registry: Registry, mlflow: MlflowClient, name: str
) -> None:
    mlflow.create_registered_model(name)
    mlflow.create_model_version(name, source="s3://others/model")
    mlflow.set_registered_model_alias(name, "theirs", "1")

    assert not registry.versions(name)
    assert registry.versions() is not None
    assert mlflow.get_registered_model(name).aliases == {"theirs": 1}


def test_a_new_registry_is_made_in_the_working_directory_and_says_nothing(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    environment.pop("SENTIMENT_REGISTRY_ARTIFACTS", None)

    done = subprocess.run(
        [sys.executable, "-m", "train", "import", "builtin:", "--json"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PROCESS_TIMEOUT_S,
    )

    assert done.returncode == 0, done.stderr
    uri = json.loads(done.stdout)["uri"]
    assert uri.startswith((tmp_path / "registry" / "artifacts" / "bundles").as_uri())
    assert (Path(uri.removeprefix("file://")) / MANIFEST).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["registry"]
    spoken = [
        line
        for line in done.stderr.splitlines()
        if not line.startswith(("sending ", "verifying ", "fetching ", "loading "))
    ]
    assert spoken == []
