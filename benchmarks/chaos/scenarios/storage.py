"""Scenarios in which folders of the service are removed or filled, and restored."""

from __future__ import annotations

import shutil
import subprocess

from benchmarks.chaos.experiment import under_traffic
from benchmarks.chaos.scenarios.context import ScenarioContext
from benchmarks.chaos.service import ServiceProcess, copy_builtin_model
from benchmarks.chaos.verdict import ScenarioResult

_AWAY_S = 8.0
"""Seconds without the folder: several flushes of the log, and retries after them."""
_FULL_BYTES = 64 << 10


def log_unwritable(context: ScenarioContext, name: str) -> ScenarioResult:
    """Replace the log's folder with a file, which also stops root, and later restore the folder."""
    service = context.shared.get()
    aside = service.folder / "log-aside"
    with under_traffic(service, name) as experiment:
        experiment.fault()
        service.log.rename(aside)
        service.log.touch()
        try:
            experiment.observe(_AWAY_S)
        finally:
            service.log.unlink()
            aside.rename(service.log)
    experiment.measure()
    return experiment.result


def log_full(context: ScenarioContext, name: str) -> ScenarioResult:
    """Mount a full file system over the log's folder, and unmount it later."""
    service = context.shared.get()
    with under_traffic(service, name) as experiment:
        experiment.fault()
        mounted = _mount_full(service)
        if mounted is not None:
            return ScenarioResult(name, skipped=f"no file system could be mounted: {mounted}")
        try:
            experiment.observe(_AWAY_S)
            left = sorted(path.name for path in service.log.rglob("*.parquet"))
        finally:
            subprocess.run(["umount", str(service.log)], check=True)
    experiment.measure()
    experiment.result.notes.append(f"{len(left)} files were written into the full file system")
    return experiment.result


def model_deleted(context: ScenarioContext, name: str) -> ScenarioResult:
    """Delete the folder of the model that is being served."""
    service = context.shared.get()
    version = service.version()
    with under_traffic(service, name) as experiment:
        experiment.fault()
        shutil.rmtree(service.model)
        try:
            experiment.observe(_AWAY_S)
            other = service.version() != version
        finally:
            copy_builtin_model(service.model)
    experiment.measure()
    experiment.result.measures["other_version"] = int(other)
    return experiment.result


def _mount_full(service: ServiceProcess) -> str | None:
    """Mount a file system without free space over the log; return the reason if that is not possible."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_FULL_BYTES}", "tmpfs", str(service.log)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "there is no `mount`"
    if done.returncode != 0:
        return done.stderr.strip()
    try:
        with (service.log / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"\0" * 4096):
                pass
    except OSError:
        pass  # the file system is full
    return None
