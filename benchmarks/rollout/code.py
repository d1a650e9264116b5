"""Change of code under load: a version that works, and one whose replicas do not start."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.canary_rollout.harness import Harness, running_service
from examples.canary_rollout.timeline import p95_ms, within
from serve_app.dev_server.launcher import ROOT
from serve_app.model.bundle import read_manifest, rewrite_manifest

_WATCHED_S = 15.0
_WORKS = "self._settings = Settings()\n"
_BROKEN = 'raise RuntimeError("this version does not start")\n'


def run(*, replicas: int, per_minute: float, names: object) -> Iterator[str]:
    """Yield one row per change, with Serve's status messages."""
    with tempfile.TemporaryDirectory(prefix="code-") as scratch:
        folder = Path(scratch)
        # In addition to four replicas, a new one and old ones that drain must fit.
        cpus = {"SENTIMENT_REPLICA_CPUS": "0.25"}
        # The code in the folder in which Ray runs would take precedence over the new code.
        with running_service(
            folder, replicas=replicas, per_minute=per_minute, environment=cpus, works_in=folder
        ) as here:
            here.settle(5)
            yield "| code | seconds | answers by version | failed | p95 ms | Serve says |"
            yield "|---|---|---|---|---|---|"
            for version, broken in (("new", False), ("broken", True)):
                yield _row(here, version, _code(folder / version, version, broken=broken))
        yield f"mixed answers: {here.witness.mixed()} of {here.witness.answers}"


def _row(here: Harness, version: str, code: Path) -> str:
    """Deploy the code, wait until Serve has finished or given up, and observe the service for a while."""
    began_s = time.time()
    _deploy(here, code)
    here.until(lambda: _application(here)["status"] == "DEPLOYING", "Serve to begin")
    here.until(lambda: _application(here)["status"] != "DEPLOYING", "Serve to end")
    took_s = time.time() - began_s
    time.sleep(_WATCHED_S)
    samples = within(here.load.samples(), began_s, time.time())
    versions = Counter(sample.version for sample in samples if sample.failure is None)
    failed = Counter(sample.failure for sample in samples if sample.failure is not None)
    application = _application(here)
    deployment = application["deployments"]["classifier"]
    states = Counter(replica["state"] for replica in deployment["replicas"])
    said = f"{application['status']}, {deployment['status']}, {dict(states)}"
    return (
        f"| {version} | {took_s:.0f} | {dict(versions)} | {dict(failed) or 0} | {p95_ms(samples):.0f} | "
        f"{said} {deployment['message'][:160]!r} |"
    )


def _code(folder: Path, version: str, *, broken: bool) -> Path:
    """Create the service's code with another version of the built-in model.

    With `broken`, its replicas do not start.
    """
    copy = folder / "code" / "serve_app"
    shutil.copytree(ROOT / "serve_app", copy, ignore=shutil.ignore_patterns("__pycache__"))
    builtin = copy / "model" / "builtin"
    rewrite_manifest(builtin, read_manifest(builtin), version=version)
    if broken:
        replica = copy / "replica" / "deployment.py"
        source = replica.read_text()
        assert _WORKS in source
        replica.write_text(source.replace(_WORKS, _BROKEN, 1))
    # Ray takes code from a zip with one folder at its top.
    return Path(shutil.make_archive(str(folder / "code"), "zip", root_dir=folder, base_dir="code"))


def _deploy(here: Harness, code: Path) -> None:
    """Write the current configuration back with other code."""
    details = _details(here)
    application = details["applications"]["sentiment"]["deployed_app_config"]
    application["runtime_env"] = {"working_dir": f"file://{code}"}
    told = {key: details[key] for key in ("proxy_location", "http_options")}
    answer = here.client.put(_url(here), json={**told, "applications": [application]})
    answer.raise_for_status()


def _application(here: Harness) -> Any:
    return _details(here)["applications"]["sentiment"]


def _details(here: Harness) -> Any:
    return here.client.get(_url(here)).raise_for_status().json()


def _url(here: Harness) -> str:
    return f"{here.service.dashboard}/api/serve/applications/"
