"""`score` and `fit` on the zoo's data files where Ray reads them: scores, or one sentence of error.

All runs share one process and its Ray cluster; the process is this file, run as a program.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pyarrow import dataset

from tests.conftest import ROOT
from tests.zoo.architectures import save
from tests.zoo.data_files import DATA_FILES, TWO_ROWS, DataFile, arguments_of, lines, settings_toml
from tests.zoo.test_verbs import FIT_SEES_LATER, LABELS

NESTED = DataFile(
    "nested.jsonl",
    lines(
        '{"text": "good", "label": "POSITIVE", "tags": ["a"], "votes": 1}', '{"text": "bad", "votes": "no"}'
    ),
    TWO_ROWS,
)
SCORED = [*[file for file in DATA_FILES if not file.message][::2], NESTED]
REFUSED_BY_FIT = [file for file in DATA_FILES if file.name in FIT_SEES_LATER]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    """The folder, and status and output of each run by its name."""
    folder = tmp_path_factory.mktemp("zoo")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.integration.test_zoo_verbs", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert "Traceback" not in ended.stdout + ended.stderr
    return folder, json.loads((folder / "runs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", SCORED, ids=lambda file: file.name)
def test_every_text_of_a_readable_file_is_scored(
    runs: tuple[Path, Mapping[str, Any]], file: DataFile
) -> None:
    folder, said = runs
    status, printed = said[f"score {file.name}"]
    assert status == 0, printed
    text = file.options.get("text", "text")
    rows = dataset.dataset(folder / f"scored-{file.name}").to_table().to_pylist()
    expected = [of for of, _ in file.rows or TWO_ROWS] + ["ok"] * (file.name == "skipped_rows.csv")
    assert sorted(row[text] for row in rows) == sorted(expected)
    assert all(abs(row["score_NEGATIVE"] + row["score_POSITIVE"] - 1) < 1e-5 for row in rows)


def test_values_of_several_types_become_json(runs: tuple[Path, Mapping[str, Any]]) -> None:
    rows = dataset.dataset(runs[0] / "scored-nested.jsonl").to_table().to_pylist()
    assert {(row["text"], row["tags"], row["votes"]) for row in rows} == {
        ("good", '["a"]', "1"),
        ("bad", None, '"no"'),
    }


def test_sets_of_settings_are_scored_as_they_are_written(runs: tuple[Path, Mapping[str, Any]]) -> None:
    folder, said = runs
    status, printed = said["score by settings"]
    assert status == 0, printed
    rows = dataset.dataset(folder / "scored-by-settings", partitioning="hive").to_table().to_pylist()
    assert {row["text"] for row in rows} == {"good", "bad"}


@pytest.mark.parametrize("file", REFUSED_BY_FIT, ids=lambda file: file.name)
def test_fit_says_in_one_sentence_what_is_wrong_with_the_rows(
    runs: tuple[Path, Mapping[str, Any]], file: DataFile
) -> None:
    status, printed = runs[1][f"fit {file.name}"]
    assert status == 1 and printed.count("error: ") == 1, printed
    assert "Traceback" not in printed


def main(folder: Path) -> None:
    """Run everything and write what came of it."""
    from train.__main__ import main as train

    model = str(save(folder / "model", labels=LABELS))
    said: dict[str, tuple[int, str]] = {}

    def run(name: str, *arguments: str) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            status = train(arguments)
        said[name] = status, printed.getvalue()

    for file in [*SCORED, *REFUSED_BY_FIT]:
        file.write(folder / file.name)
    for file in SCORED:
        data = ["--data", str(folder / file.name), "--out", str(folder / f"scored-{file.name}")]
        columns = ["--text-column", "1"] if file.options.get("header") is False else []
        options = arguments_of(file, labels=False)
        run(f"score {file.name}", "score", "--bundle", model, *data, *columns, *options)
    [file] = [file for file in SCORED if file.name == "no_header.csv"]
    (folder / "zoo.toml").write_text(settings_toml(file, model), encoding="utf-8")
    config = ["--config", str(folder / "zoo.toml"), "--data", str(folder)]
    run("score by settings", "score", "--bundle", model, *config, "--out", str(folder / "scored-by-settings"))
    for file in REFUSED_BY_FIT:
        data = ["--data", str(folder / file.name), "--out", str(folder / f"run-{file.name}"), "--base", model]
        run(f"fit {file.name}", "fit", *data, *arguments_of(file), "--max-steps", "1")
    (folder / "runs.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
