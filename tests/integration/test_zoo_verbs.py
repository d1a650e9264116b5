"""Tests of `score` and `fit` on the zoo's data files in Ray: scores, or an error message of one sentence.

All runs share one process and its Ray cluster; the process is this file, run as a program.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyarrow import dataset, parquet

from tests.conftest import ROOT
from tests.zoo.architectures import save
from tests.zoo.data_files import DATA_FILES, TWO_ROWS, DataFile, arguments_of, lines, settings_toml
from tests.zoo.test_verbs import LABELS

NESTED = DataFile(
    "nested.jsonl",
    lines('{"text": "good", "tags": ["a"], "votes": 1}', '{"text": "bad", "votes": "no"}'),
    TWO_ROWS,
)
READ_FILES = [file for file in DATA_FILES if not file.message]
OF_LAYOUT = {"delimiter", "encoding", "header", "skip_bad_rows"}
USUAL = [*(file for file in READ_FILES if not OF_LAYOUT & file.options.keys()), NESTED]
"""Files in one folder, which one run scores although their formats and columns differ."""
SAID = [file for file in READ_FILES if OF_LAYOUT & file.options.keys()]
"""Files whose options are in the settings of a run."""
REFUSED_BY_FIT = [file for file in DATA_FILES if file.name in ("bad_rows.csv", "no_text.parquet")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    """Return the folder, and status and output of each run by its name."""
    folder = tmp_path_factory.mktemp("zoo")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.integration.test_zoo_verbs", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert "Traceback" not in ended.stdout + ended.stderr
    return folder, json.loads((folder / "runs.json").read_text(encoding="utf-8"))


def texts_of(files: Iterable[DataFile]) -> list[str]:
    return sorted(text for file in files for text, _ in file.rows or TWO_ROWS)


def test_every_text_of_a_folder_is_scored(runs: tuple[Path, Mapping[str, Any]]) -> None:
    folder, said = runs
    status, printed = said["score"]
    assert status == 0, printed
    rows = [
        row for path in (folder / "scored").rglob("*.parquet") for row in parquet.read_table(path).to_pylist()
    ]
    assert sorted(row["text"] for row in rows) == texts_of(USUAL)
    assert all(abs(row["score_NEGATIVE"] + row["score_POSITIVE"] - 1) < 1e-5 for row in rows)
    nested = {(row["tags"], row["votes"]) for row in rows if row.get("tags") or row.get("votes") == '"no"'}
    assert nested == {('["a"]', "1"), (None, '"no"')}, "values of several types become JSON"


def test_the_sets_of_settings_are_scored_as_they_are_written(runs: tuple[Path, Mapping[str, Any]]) -> None:
    folder, said = runs
    status, printed = said["score by settings"]
    assert status == 0, printed
    rows = dataset.dataset(folder / "scored-sets", partitioning="hive").to_table().to_pylist()
    # A text with an unknown label has scores, too.
    assert sorted(row["text"] for row in rows) == sorted([*texts_of(SAID), "ok"])


@pytest.mark.parametrize("file", REFUSED_BY_FIT, ids=lambda file: file.name)
def test_fit_says_in_one_sentence_what_is_wrong_with_the_rows(
    runs: tuple[Path, Mapping[str, Any]], file: DataFile
) -> None:
    status, printed = runs[1][f"fit {file.name}"]
    assert status == 1 and printed.count("error: ") == 1, printed
    assert "Traceback" not in printed


def main(folder: Path) -> None:
    """Run everything and write the results."""
    from train.__main__ import main as train

    model = str(save(folder / "model", labels=LABELS))
    said: dict[str, tuple[int, str]] = {}

    def run(name: str, *arguments: str) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            status = train(arguments)
        said[name] = status, printed.getvalue()

    for kind, files in {"usual": USUAL, "said": SAID, "bad": REFUSED_BY_FIT}.items():
        (folder / kind).mkdir()
        for file in files:
            file.write(folder / kind / file.name)
    run("score", "score", "--bundle", model, "--data", str(folder / "usual"), "--out", str(folder / "scored"))
    (folder / "zoo.toml").write_text(settings_toml(model, *SAID), encoding="utf-8")
    config = ["--config", str(folder / "zoo.toml"), "--data", str(folder / "said")]
    run("score by settings", "score", "--bundle", model, *config, "--out", str(folder / "scored-sets"))
    for file in REFUSED_BY_FIT:
        data = ["--data", str(folder / "bad" / file.name), "--out", str(folder / f"run-{file.name}")]
        run(f"fit {file.name}", "fit", *data, "--base", model, *arguments_of(file), "--max-steps", "1")
    (folder / "runs.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
