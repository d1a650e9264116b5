"""Tests of the choice of PyTorch's index, with stand-ins for Python and nvidia-smi."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "requirements/install-torch"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
[PIN] = re.findall(r"^torch==\S+", (ROOT / "requirements/serve.txt").read_text(), re.MULTILINE)


@dataclass(frozen=True)
class Machine:
    """Machine with or without a GPU, an installed PyTorch, and an index that pip can reach."""

    folder: Path

    def set_up(
        self, *, system: str = "Linux", gpu: bool = False, reachable: bool = True, torch: str = ""
    ) -> None:
        self._program("uname", f"print({system!r})")
        self._program("nvidia-smi", f"sys.exit({0 if gpu else 9})")
        record = f"open({str(self.folder / 'calls')!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
        installed = f"print({torch!r}) if {torch!r} else sys.exit(1)"
        pip = f"{record}; sys.exit({0 if reachable else 1})"
        self._program("python", f"if sys.argv[1] == '-c':\n    {installed}\nelse:\n    {pip}")

    def _program(self, name: str, code: str) -> None:
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\nimport json, sys\n{code}\n")
        path.chmod(0o755)

    def install(self, index: str) -> tuple[int, str, list[list[str]]]:
        """Return the exit code, the output, and the calls of pip."""
        ran = subprocess.run(
            [SCRIPT, str(self.folder / "python"), index],
            env={"PATH": f"{self.folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        calls = self.folder / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return ran.returncode, ran.stdout, [json.loads(line) for line in lines]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_a_gpu_the_cpu_build_is_installed_and_reported(machine: Machine) -> None:
    machine.set_up()
    code, said, [call] = machine.install("auto")
    assert code == 0 and "no NVIDIA GPU" in said and "TORCH_INDEX=" in said
    assert call[:2] == ["-m", "pip"] and call[-1] == PIN
    assert call[call.index("--index-url") + 1] == CPU_INDEX


def test_an_index_that_cannot_be_reached_is_reported_and_not_an_error(machine: Machine) -> None:
    machine.set_up(reachable=False)
    code, said, calls = machine.install("auto")
    assert code == 0 and len(calls) == 1
    assert "pip's own index is installed, with CUDA" in said.splitlines()[-1]


def test_with_a_gpu_pip_s_own_index_is_used(machine: Machine) -> None:
    machine.set_up(gpu=True)
    code, said, calls = machine.install("auto")
    assert code == 0 and "build with CUDA" in said and not calls


@pytest.mark.parametrize(("system", "index"), [("Darwin", "auto"), ("Linux", "")])
def test_elsewhere_or_on_request_pip_s_own_index_is_used(machine: Machine, system: str, index: str) -> None:
    machine.set_up(system=system)
    assert machine.install(index) == (0, "", [])


def test_a_named_index_must_be_reachable(machine: Machine) -> None:
    machine.set_up(reachable=False)
    code, _, [call] = machine.install("https://packages.example/torch")
    assert code != 0 and "https://packages.example/torch" in call


@pytest.mark.parametrize("torch", [PIN, "torch==1.0"])
def test_an_installed_build_of_the_locked_version_is_kept(machine: Machine, torch: str) -> None:
    machine.set_up(torch=torch)
    assert len(machine.install("auto")[2]) == (0 if torch == PIN else 1)


def test_the_address_is_the_same_in_the_compose_example_and_the_documentation() -> None:
    compose = yaml.safe_load((ROOT / "examples/compose/compose.yaml").read_text())
    assert compose["services"]["sentiment"]["build"]["args"]["TORCH_INDEX"] == CPU_INDEX
    assert CPU_INDEX in SCRIPT.read_text() and CPU_INDEX in (ROOT / "docs/quickstart.md").read_text()


def test_make_passes_the_index_on(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "requirements.txt").touch()
    command = ["make", "--dry-run", ".venv/serve.stamp", f"PYTHON={sys.executable}", "TORCH_INDEX=a 'b"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert r"requirements/install-torch .venv/bin/python 'a '\''b'" in ran.stdout
