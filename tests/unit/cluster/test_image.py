"""Tests of the image: contents of its Dockerfile, and runs of its real entry point."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from packaging.utils import canonicalize_name

from cluster.image_lock import LOCKS, PYTHON, lock_files, packages_of
from cluster.kuberay.manifests.pods import HAPROXY, USER_ID, worker_group
from cluster.kuberay.settings import environments, read_environment
from serve_app.settings import Settings

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "cluster" / "Dockerfile"
ENTRYPOINT = ROOT / "cluster" / "entrypoint.sh"
OPEN = "python -m serve_app --host 0.0.0.0 --insecure"
"""Start command; listening on 0.0.0.0 is safe, because a container has an address of its own."""
ECS = ROOT / "cluster" / "aws" / "terraform" / "modules" / "alternatives" / "ecs.tf"
SERVING = ("cpu", "cuda")
PYDANTIC = {"annotated_types", "pydantic_core", "typing_extensions", "typing_inspection"}


@dataclass(frozen=True)
class Stage:
    """Build stage: its base, and its instructions as (word, arguments)."""

    base: str
    steps: tuple[tuple[str, str], ...]


def stages() -> dict[str, Stage]:
    text = re.sub(
        r"\\\n",
        " ",
        "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")),
    )
    found: dict[str, Stage] = {}
    name, base, steps = "", "", []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            if name:
                found[name] = Stage(base, tuple(steps))
            base, _, name = re.split(r"\s+", rest)
            steps = []
        elif name:
            steps.append((word, re.sub(r"\s+", " ", rest)))
    found[name] = Stage(base, tuple(steps))
    return found


def whole(target: str) -> list[tuple[str, str]]:
    """Return every instruction that creates layers of a target, beginning with its first stage."""
    every = stages()
    chain = [target]
    while every[chain[-1]].base in every:
        chain.append(every[chain[-1]].base)
    return [step for name in reversed(chain) for step in every[name].steps]


def copied_files(target: str) -> set[str]:
    """Return the files of the context that a target copies, also those of the stage `application`."""
    steps = whole(target)
    if ("COPY", "--from=application / /") in steps:
        steps = [*steps, *stages()["application"].steps]
    copies = [rest.split() for word, rest in steps if word == "COPY" and "--from" not in rest]
    return {source for words in copies for source in words[:-1] if not source.startswith("--")}


def locks(target: str) -> list[str]:
    """Return the lock files that a target installs, in order."""
    installs = " ".join(rest for word, rest in whole(target) if word == "RUN")
    return re.findall(r"--require-hashes -r /locks/(\w+)\.txt", installs)


@pytest.mark.parametrize("target", [*SERVING, "train"])
def test_it_runs_as_the_user_that_the_manifests_name(target: str) -> None:
    users = [rest for word, rest in whole(target) if word == "USER"]
    assert users == [f"{USER_ID}:{USER_ID}"]
    assert any("useradd --uid 1000" in rest for word, rest in whole(target) if word == "RUN")


@pytest.mark.parametrize("target", SERVING)
def test_only_what_serving_needs_is_in_it(target: str) -> None:
    policy = {"cluster/__init__.py", "cluster/autoscaling"}
    assert copied_files(target) == {"cluster/entrypoint.sh", "serve_app", *policy}
    assert locks(target) == [*(["cuda"] if target == "cuda" else []), "serve"]


@pytest.mark.parametrize("target", [*SERVING, "train"])
def test_packages_are_installed_by_hash_and_pips_cache_is_in_no_layer(target: str) -> None:
    steps = whole(target)
    installs = [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    assert installs
    for install in installs:
        assert "--mount=type=cache,target=/root/.cache/pip" in install
        assert "--require-hashes" in install or '--index-url "$TORCH_INDEX"' in install
    assert ("ARG", "PIP_CACHE_DIR=/root/.cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_DEPS=1") in steps


def test_cuda_and_train_share_the_layers_of_cuda_and_of_serving() -> None:
    shared = whole("packages-cuda")
    assert whole("cuda")[: len(shared)] == whole("train")[: len(shared)] == shared
    assert locks("train") == ["cuda", "serve", "train"]


@pytest.mark.parametrize("target", [*SERVING, "train"])
def test_a_change_of_the_source_keeps_the_layers_of_packages(target: str) -> None:
    words = [word for word, _ in whole(target) if word in ("RUN", "COPY")]
    assert set(words[words.index("COPY") :]) == {"COPY"}


def test_the_cpu_target_fails_with_a_build_of_pytorch_that_has_cuda() -> None:
    installs = [rest for word, rest in whole("cpu") if word == "RUN" and "pip install" in rest]
    assert ("ARG", "TORCH_INDEX=https://download.pytorch.org/whl/cpu") in whole("cpu")
    assert "sys.exit(torch.version.cuda and" in installs[-1]
    assert not any("-r /locks/cuda.txt" in rest for rest in installs)


def test_the_base_image_comes_from_a_registry_without_docker_hubs_limits() -> None:
    bases = {stage.base for stage in stages().values()} - stages().keys()
    assert bases == {"public.ecr.aws/docker/library/python:${PYTHON}", "scratch"}
    assert not DOCKERFILE.read_text().startswith("# syntax="), "BuildKit would fetch it from Docker Hub"


def test_the_python_of_the_lock_files_is_that_of_the_images() -> None:
    assert f"ARG PYTHON={PYTHON}-slim-bookworm\n" in DOCKERFILE.read_text()


def wheels(name: str) -> dict[str, str]:
    """Return the version of every package of a lock file of the images; each has hashes."""
    text = (LOCKS / f"{name}.txt").read_text()
    packages = packages_of(text)
    assert "".join(f"{package}\n" for package in packages) == text.partition("\n")[2]
    hashes = [one for package in packages for one in package.hashes]
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes)
    return {package.name: package.version for package in packages}


def pins(path: str) -> dict[str, str]:
    """Return the versions of a lock file of the project."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / path).read_text(), re.M)
    return {canonicalize_name(name): version for name, version in found}


def test_the_images_have_the_tested_versions_and_locked_cuda_libraries() -> None:
    cuda, serve, train = (wheels(name) for name in ("cuda", "serve", "train"))
    assert not (cuda.keys() & serve.keys()) and not ((cuda.keys() | serve.keys()) & train.keys())
    assert {"torch", "triton", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= cuda.keys()
    tested = pins("requirements.txt") | pins("requirements/builtin-model.txt")
    for name, version in ({"torch": cuda["torch"]} | serve | train).items():
        assert tested[name] == version, f"{name}: run `make lock`"
    assert pins("requirements/serve.txt").keys() <= (cuda | serve).keys(), "run `make lock`"


def test_a_package_is_locked_once_in_the_first_file_that_needs_it() -> None:
    def resolved(*names: str) -> str:
        hashes = " \\\n    --hash=sha256:0 \\\n    --hash=sha256:1"
        return "".join(f"{name}==1.0{hashes}\n" for name in names)

    serving = packages_of(resolved("nvidia-cudnn-cu13", "ray", "torch"))
    training = packages_of(resolved("mlflow", "nvidia-cudnn-cu13", "ray", "torch"))
    files = {name: [one.name for one in found] for name, found in lock_files(serving, training).items()}
    assert files == {"cuda": ["nvidia-cudnn-cu13", "torch"], "serve": ["ray"], "train": ["mlflow"]}
    assert f"{serving[1]}\n" == resolved("ray") and serving[1].hashes == ("sha256:0", "sha256:1")


@pytest.mark.parametrize("target", SERVING)
def test_the_haproxy_that_the_pods_name_is_in_it(target: str) -> None:
    steps = whole(target)
    assert ("WORKDIR", "/app") in steps
    assert ("COPY", "serve_app /app/serve_app") in stages()["application"].steps
    program = ROOT / Path(HAPROXY).relative_to("/app")
    assert program.stat().st_mode & stat.S_IXUSR
    ran = subprocess.run(
        [program, "-v"],
        env=os.environ | {"HAPROXY_PYTHON": sys.executable},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.stdout.startswith("HAProxy version")


def test_the_policy_in_it_imports_nothing_that_it_lacks() -> None:
    program = """if True:
        import sys
        before = set(sys.modules)
        import cluster.autoscaling.policy
        print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
        print(*sorted(name for name in sys.modules if name.startswith("cluster.")))
    """
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    packages, ours = (set(line.split()) for line in ran.stdout.splitlines())
    foreign = {name for name in packages - sys.stdlib_module_names if not name.startswith("_")}
    assert foreign <= {"cluster", "pydantic", *PYDANTIC}
    assert {name.split(".")[1] for name in ours} == {"autoscaling"}


def test_the_lock_of_serving_has_no_training_and_no_control_plane() -> None:
    names = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "serve.txt").read_text(), re.M))
    assert {"ray", "torch", "transformers"} <= names
    assert not names & {"kubernetes", "mlflow", "peft", "pandas", "locust", "pytest", "moto"}


def test_the_cuda_image_does_not_serve_on_a_cpu() -> None:
    """With `auto`, a container without a GPU or with an old driver would serve on the CPU."""
    variables = dict(
        pair.split("=", 1) for word, rest in stages()["cuda"].steps if word == "ENV" for pair in rest.split()
    )
    assert Settings.model_fields["device"].default == "auto"
    assert variables["SENTIMENT_DEVICE"] == "cuda"


@pytest.mark.parametrize("target", [*SERVING, "train"])
def test_it_has_a_health_check_and_an_entry_point(target: str) -> None:
    steps = dict(whole(target))
    assert 'CMD ["sentiment", "healthy"]' in steps["HEALTHCHECK"]
    assert steps["ENTRYPOINT"] == '["tini", "--", "sentiment"]'
    assert ENTRYPOINT.stat().st_mode & stat.S_IXUSR


def test_ecs_asks_for_the_health_as_the_image_does() -> None:
    """ECS ignores an image's HEALTHCHECK, so that its task definition repeats it."""
    if not ECS.exists():
        pytest.skip(f"no {ECS.relative_to(ROOT)}: the task definition is not part of this tree")
    told = re.search(r"healthCheck\s*=\s*{(.+?)}", ECS.read_text(), re.S)
    assert told, "the task definition has no health check"
    (check,) = [rest for word, rest in whole("cuda") if word == "HEALTHCHECK"]
    command = json.loads(check.partition("CMD ")[2])
    assert re.findall(r'"([^"]+)"', told[1]) == ["CMD", *command]
    ours = {name.replace("-", "").lower(): int(n) for name, n in re.findall(r"--([a-z-]+)=(\d+)", check)}
    theirs = {name.lower(): int(n) for name, n in re.findall(r"(\w+)\s*=\s*(\d+)", told[1])}
    assert ours == theirs


@pytest.mark.parametrize("target", [*SERVING, "train"])
def test_what_is_written_to_is_a_volume_here_and_a_mount_in_the_manifests(target: str) -> None:
    (volumes,) = [rest for word, rest in whole(target) if word == "VOLUME"]
    assert volumes == '["/tmp", "/var/cache/sentiment"]'
    for name in environments():
        environment = read_environment(name)
        pod = worker_group(environment, environment.workers[0])["template"]["spec"]
        mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts == {"/tmp", "/var/cache/sentiment"}


def test_no_secret_is_in_it() -> None:
    text = DOCKERFILE.read_text()
    assert not re.search(r"(?i)(password|secret|token|api_key|aws_access)\S*\s*=", text)
    words = {word for stage in stages().values() for word, _ in stage.steps}
    assert "ADD" not in words, "COPY cannot fetch from elsewhere"
    sources = [rest for stage in stages().values() for word, rest in stage.steps if word == "COPY"]
    assert not any(re.search(r"(^|\s)\.(\s|$)", rest.rpartition(" ")[0]) for rest in sources), (
        "a whole context"
    )


def test_the_context_lets_in_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / "cluster" / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {line[1:] for line in rules if line.startswith("!")}
    copied = copied_files("train")
    mounted = re.findall(r"--mount=type=bind,source=(\S+),target", DOCKERFILE.read_text())
    assert {str(Path(source).parent) for source in mounted} == {"requirements/images"}
    assert {*copied, "requirements/images"} == let_in
    assert all((ROOT / source).exists() for source in (*copied, *mounted))


@pytest.mark.parametrize("name", environments())
def test_the_tags_of_the_environments_are_targets(name: str) -> None:
    environment = read_environment(name)
    images = [environment.image, *([environment.training.image] if environment.training else [])]
    assert {image.rpartition("-")[2] for image in images} <= stages().keys()


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Return a folder with a `python` program that prints its arguments."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "python $*"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "environment", "runs"),
    [
        ([], {}, f"{OPEN} --port 8000"),
        ([], {"PORT": "9000"}, f"{OPEN} --port 9000"),
        (["serve"], {}, f"{OPEN} --port 8080"),
        (["serve"], {"SAGEMAKER_BIND_TO_PORT": "8081"}, f"{OPEN} --port 8081"),
        (["train"], {}, "python -m train sagemaker"),
        (["echo", "ray", "start"], {}, "ray start"),
    ],
)
def test_the_entry_point_runs_what_each_platform_asks_for(
    python: Path, words: list[str], environment: dict[str, str], runs: str
) -> None:
    given = {"PATH": f"{python}:{os.environ['PATH']}", **environment}
    answer = subprocess.run(
        [ENTRYPOINT, *words], env=given, capture_output=True, text=True, check=True, timeout=30
    )
    assert answer.stdout.strip() == runs


@pytest.mark.parametrize(
    ("bundle", "told", "model"),
    [(True, None, "there"), (True, "s3://other", "s3://other"), (False, None, "")],
)
def test_sagemaker_serves_the_model_data_where_there_is_some(
    python: Path, tmp_path: Path, bundle: bool, told: str | None, model: str
) -> None:
    (python / "python").write_text('#!/bin/sh\necho "$SENTIMENT_MODEL"\n')
    there = tmp_path / "there"
    there.mkdir()
    if bundle:
        (there / "bundle.json").write_text("{}")
    given = {"PATH": f"{python}:{os.environ['PATH']}", "SM_MODEL_DIR": str(there)}
    if told is not None:
        given["SENTIMENT_MODEL"] = told
    answer = subprocess.run(
        [ENTRYPOINT, "serve"], env=given, capture_output=True, text=True, check=True, timeout=30
    )
    assert answer.stdout.strip() == (str(there) if model == "there" else model)


@pytest.fixture
def pinged() -> Iterator[int]:
    """Yield the port of a server that answers /ping."""

    class Ping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ping" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Ping)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_health_check_asks_the_service(pinged: int) -> None:
    from serve_app.dev_server.launcher import free_port

    def healthy(port: int, sagemaker: int) -> int:
        environment = {**os.environ, "PORT": str(port), "SAGEMAKER_BIND_TO_PORT": str(sagemaker)}
        return subprocess.run(
            [ENTRYPOINT, "healthy"], env=environment, capture_output=True, timeout=30
        ).returncode

    assert healthy(pinged, free_port()) == 0
    assert healthy(free_port(), pinged) == 0
    assert healthy(free_port(), free_port()) == 1
