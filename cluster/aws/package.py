"""Reproducible zip files of the Lambda functions: `python -m cluster.aws.package OUT`.

Each zip holds the modules that its function imports, at their paths in the repository; the handler is
`cluster.aws.functions.NAME.handler`. Lambda's Python includes boto3. Dates are fixed, entries are sorted and
not compressed: the same commit gives the same SHA-256, so that Terraform has no changes.
"""

import argparse
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[2]
FUNCTIONS = ("probe", "drift_check", "pipeline_trigger", "rollout_watcher")
_SHARED = (
    "cluster/__init__.py",
    "cluster/aws/__init__.py",
    "cluster/aws/functions/__init__.py",
    "cluster/aws/functions/idempotency.py",
    "cluster/aws/functions/runtime.py",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date in a zip file."""
_READABLE = 0o100644 << 16


def package(out: Path) -> list[Path]:
    """Write `OUT/NAME.zip` of every function, and return the paths."""
    out.mkdir(parents=True, exist_ok=True)
    return [_write(out / f"{name}.zip", [*_SHARED, f"cluster/aws/functions/{name}.py"]) for name in FUNCTIONS]


def handler(name: str) -> str:
    """Return the name of a function's handler in Lambda."""
    return f"cluster.aws.functions.{name}.handler"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the zip files and print their paths."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster.aws.package", description="Pack the Lambda functions, reproducibly."
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the zip files; created if missing")
    for path in package(parser.parse_args(arguments).out):
        print(f"{path}  {path.stat().st_size:,} bytes  {handler(path.stem)}")
    return 0


def _write(path: Path, names: Sequence[str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(names):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = _READABLE
            entry.create_system = 3  # Unix, on every platform
            archive.writestr(entry, (_ROOT / name).read_bytes())
    return path


if __name__ == "__main__":
    sys.exit(main())
