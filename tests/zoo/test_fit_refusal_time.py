"""Test that `fit` refuses a base that it cannot train within 10 s of the start of its process.

The test measures the CPU time of the process and its children, including the imports of torch and
transformers. On an idle machine it is close to the elapsed time; on a shared machine the elapsed time also
depends on other programs. Processes that share caches run slower, so 1.5 times the limit is allowed. The
timeout limits the elapsed time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.zoo.architectures import LABELS, save
from tests.zoo.test_fitted import REFUSED

PROMISED_S = 10.0
SHARED = 1.5
PATIENCE_S = 120


@pytest.mark.parametrize(("architecture", "method"), REFUSED)
def test_a_base_is_refused_soon_after_the_start(architecture: str, method: str, tmp_path: Path) -> None:
    folder = save(tmp_path / architecture, architecture)
    rows = [f"the room was {label},{label}" for label in LABELS]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    data = ["--data", str(tmp_path / "texts.csv"), "--out", str(tmp_path / "run")]
    before = os.times()
    ended = subprocess.run(
        [sys.executable, "-m", "train", "fit", "--base", str(folder), "--method", method, *data],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    after = os.times()
    seconds = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    assert ended.returncode == 1 and REFUSED[architecture, method] in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr
    assert seconds <= SHARED * PROMISED_S
    assert not (tmp_path / "run" / "prepared").exists(), "no text was read"
