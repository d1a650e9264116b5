"""Tests of all verbs on every file and model of the zoo: each succeeds or prints an error, never a traceback.

Tests that need a Ray cluster are in tests/integration/test_zoo_verbs.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.zoo.architectures import save
from tests.zoo.data_files import DATA_FILES, DataFile, arguments_of, settings_toml
from tests.zoo.test_refused import REFUSED
from train.__main__ import main

LABELS = ("NEGATIVE", "POSITIVE")
OF_THE_LABEL = {"floats.parquet", "stars.csv", "bad_map.csv", "bad_rows.csv", "swallowed.csv"}
"""Files whose fault is detected only by verbs that read labels."""
REFUSED_FILES = [file for file in DATA_FILES if file.message]
READ_FILES = [file for file in DATA_FILES if not file.message]
Verb = Callable[[DataFile, Path, Path], list[str]]


def run(*arguments: str) -> tuple[int, str]:
    """Run a verb in this process; an exception would be a traceback for the user and fails the test."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        status = main(list(arguments))
    return status, printed.getvalue()


def assert_refused(status: int, printed: str, message: str = "") -> None:
    assert status == 1, printed
    assert printed.count("error: ") == 1 and "Traceback" not in printed
    assert re.search(f"(?s){message}", printed), printed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tmp_path_factory.mktemp("model") / "model", labels=LABELS))


def evaluate(file: DataFile, path: Path, model: str) -> list[str]:
    return ["evaluate", "--bundle", model, "--data", str(path), *arguments_of(file)]


def gate(file: DataFile, path: Path, model: str) -> list[str]:
    return ["gate", "--candidate", model, "--champion", "none", "--data", str(path), *arguments_of(file)]


def sentences(file: DataFile, path: Path, model: str) -> list[str]:
    config = path.with_name(f"{path.name}.toml")
    config.write_text(settings_toml(model, file), encoding="utf-8")
    out = path.with_name(f"{path.name}.sentences.parquet")
    return [
        "sentences",
        "--config",
        str(config),
        "--data",
        str(path.parent),
        "--set",
        "zoo0",
        "--out",
        str(out),
    ]


def feedback(file: DataFile, path: Path, model: str) -> list[str]:
    # These files have no request ids, so the texts are used as ids.
    text, label = file.options.get("text", "text"), file.options.get("label", "label")
    columns = ["--request-id-column", text, "--label-column", label]
    log = ["--log", str(path.with_name(f"{path.name}.log")), "--labels", *LABELS]
    return ["feedback", "import", str(path), *log, *columns, *arguments_of(file, rows=False)]


READERS: dict[str, Callable[[DataFile, Path, str], list[str]]] = {
    "evaluate": evaluate,
    "gate": gate,
    "sentences": sentences,
    "feedback import": feedback,
}


@pytest.mark.parametrize("file", REFUSED_FILES, ids=lambda file: file.name)
@pytest.mark.parametrize("verb", READERS)
def test_a_file_that_cannot_be_used_is_refused_by_every_verb(
    verb: str, file: DataFile, model: str, tmp_path: Path
) -> None:
    file.write(tmp_path / file.name)
    status, printed = run(*READERS[verb](file, tmp_path / file.name, model))
    of_texts = verb == "feedback import" and file.name in ("swallowed.csv", "numbers_as_texts.parquet")
    if of_texts:  # any value is a valid request id
        assert status == 0, printed
        return
    same_words = verb != "feedback import" and (verb, file.name) != ("sentences", "bad_map.csv")
    assert_refused(status, printed, file.message if same_words else "")


@pytest.mark.parametrize("verb", READERS)
def test_a_file_that_can_be_used_is_read_by_every_verb(verb: str, model: str, tmp_path: Path) -> None:
    for file in READ_FILES[::3] if verb != "feedback import" else READ_FILES:
        file.write(tmp_path / file.name)
        status, printed = run(*READERS[verb](file, tmp_path / file.name, model))
        bad_rows = (
            verb == "feedback import" and file.name == "skipped_rows.csv"
        )  # this verb does not skip bad rows
        assert status in ({1} if bad_rows else {0, 2, 3} if verb == "gate" else {0}), (
            f"{file.name}: {printed}"
        )


@pytest.mark.parametrize("file", REFUSED_FILES, ids=lambda file: file.name)
def test_score_refuses_what_has_no_texts_before_any_work(file: DataFile, model: str, tmp_path: Path) -> None:
    if file.name in OF_THE_LABEL - {"bad_rows.csv"}:
        pytest.skip("score reads no labels")
    file.write(tmp_path / file.name)
    options = arguments_of(file, labels=False)
    out = tmp_path / "scored"
    status, printed = run(
        "score", "--bundle", model, "--data", str(tmp_path / file.name), "--out", str(out), *options
    )
    assert_refused(status, printed, file.message if file.name != "bad_rows.csv" else "7 invalid rows")
    assert not out.exists()


@pytest.mark.parametrize("file", REFUSED_FILES, ids=lambda file: file.name)
def test_score_refuses_the_same_by_settings(file: DataFile, model: str, tmp_path: Path) -> None:
    if file.name in OF_THE_LABEL - {"bad_rows.csv"}:
        pytest.skip("score reads no labels")
    file.write(tmp_path / file.name)
    (tmp_path / "zoo.toml").write_text(settings_toml(model, file), encoding="utf-8")
    config = ["--config", str(tmp_path / "zoo.toml"), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    status, printed = run("score", "--bundle", model, *config)
    assert_refused(status, printed, file.message if file.name != "bad_rows.csv" else "7 invalid rows")


@pytest.mark.parametrize(
    ("rows", "message"), [(["text,label"], "no text"), (["text,label", " ,POSITIVE"], "the text is empty")]
)
def test_score_refuses_a_file_without_a_text(
    rows: list[str], message: str, model: str, tmp_path: Path
) -> None:
    (tmp_path / "set.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = ["--data", str(tmp_path / "set.csv"), "--out", str(tmp_path / "out")]
    assert_refused(*run("score", "--bundle", model, *data), message)


FIT_SEES_LATER = OF_THE_LABEL | {"numbers_as_texts.parquet", "no_text.parquet"}
"""Files with a readable label column, whose bad rows are detected only by the Ray tasks."""


@pytest.mark.parametrize("file", REFUSED_FILES, ids=lambda file: file.name)
def test_fit_refuses_a_file_before_any_work(file: DataFile, model: str, tmp_path: Path) -> None:
    if file.name in FIT_SEES_LATER:
        pytest.skip("refused by the tasks that read it")
    file.write(tmp_path / file.name)
    data = ["--data", str(tmp_path / file.name), "--out", str(tmp_path / "run"), "--base", model]
    message = file.message.replace("'text'", "'(text|label)'")  # `fit` reads the labels before the texts
    assert_refused(*run("fit", *data, *arguments_of(file)), message)


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("verb", ["evaluate", "gate", "score", "drift", "import"])
def test_a_model_that_cannot_work_is_refused_by_every_verb(
    verb: str, spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = save(tmp_path / "model", labels=LABELS if verb != "import" else ("bad", "so so", "good"))
    spoil(folder)
    (tmp_path / "set.csv").write_text("text,label\ngood,POSITIVE\nbad,NEGATIVE\n", encoding="utf-8")
    data = ["--data", str(tmp_path / "set.csv"), "--out", str(tmp_path / "out")]
    registry = ["--registry", f"sqlite:///{tmp_path}/registry.db", "--artifacts", str(tmp_path / "artifacts")]
    status, printed = run(
        *{
            "evaluate": ["evaluate", "--bundle", str(folder), *data],
            "gate": ["gate", "--candidate", str(folder), "--champion", "none", *data],
            "score": ["score", "--bundle", str(folder), *data],
            "drift": ["drift", "--bundle", str(folder), "--log", str(tmp_path / "log")],
            "import": ["import", str(folder), "--name", "zoo", "--version", "1", *registry],
        }[verb]
    )
    assert_refused(status, printed)


LOG_VERBS = {
    "log show": ["log", "show"],
    "log compact": ["log", "compact"],
    "feedback sample": ["feedback", "sample", "--since", "2026-11-01", "--out", "sample.csv"],
    "feedback import": ["feedback", "import", "said.csv"],
    "drift": ["drift", "--since", "2026-11-01", "--bundle", "MODEL"],
}


@pytest.mark.parametrize("kind", ["nothing", "no parquet", "another parquet", "another folder"])
@pytest.mark.parametrize("verb", LOG_VERBS)
def test_a_log_that_is_none_ends_in_no_traceback(
    verb: str, kind: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("said.csv").write_text("request_id,label\n1,POSITIVE\n", encoding="utf-8")
    days = {"another folder": "some"}.get(kind, "date=2026-11-26/version=1")
    path = Path("log/predictions", days, "20261126T000000-x.parquet")
    path.parent.mkdir(parents=True)
    [plain] = [file for file in DATA_FILES if file.name == "booleans.parquet"]
    match kind:
        case "no parquet":
            path.write_text(json.dumps({"text": "good"}), encoding="utf-8")
        case "another parquet" | "another folder":
            plain.write(path)
    arguments = [model if argument == "MODEL" else argument for argument in LOG_VERBS[verb]]
    if verb == "feedback import" and kind == "nothing":
        arguments += ["--labels", *LABELS]
    status, printed = run(*arguments, "--log", "log")
    if status:
        assert_refused(status, printed)
