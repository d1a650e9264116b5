"""Lock files of the images: every package for their platform, with its hashes (`make lock`).

`requirements/serve.txt` is for every platform and leaves the CUDA libraries to PyTorch's own requirements.
The images have one platform: their lock files name each package, and pip refuses a file with another hash.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PYTHON = "3.11"
"""Python of the images; see cluster/Dockerfile."""
_PLATFORM = "x86_64-manylinux_2_28"
FOLDER = Path(__file__).parents[1] / "requirements"
LOCKS = FOLDER / "images"
_ACCELERATED = ("torch", "triton", "nvidia-", "cuda-")
_TITLES = {"cuda": "PyTorch and CUDA", "serve": "Other packages", "train": "Further packages of training"}


@dataclass(frozen=True, order=True, slots=True)
class LockedPackage:
    """Package of a lock file; any of the hashes is one of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " \\\n    ".join([f"{self.name}=={self.version}", *(f"--hash={one}" for one in self.hashes)])


def packages_of(text: str) -> list[LockedPackage]:
    """Return the packages of a lock file with hashes, in its order."""
    found = re.findall(r"^([a-z0-9._-]+)==(\S+)((?:[ \\\n]+--hash=\S+)+)", text, re.MULTILINE)
    return [
        LockedPackage(name, version, tuple(re.findall(r"--hash=(\S+)", hashes)))
        for name, version, hashes in found
    ]


def lock_files(
    serving: Sequence[LockedPackage], training: Sequence[LockedPackage]
) -> Mapping[str, Sequence[LockedPackage]]:
    """Return the packages of each lock file, which the layers of an image install one after the other.

    Args:
        serving: All packages of a replica.
        training: All packages of a training, which are those of a replica and more.
    """
    accelerated = [package for package in serving if package.name.startswith(_ACCELERATED)]
    names = {package.name for package in serving}
    return {
        "cuda": accelerated,
        "serve": [package for package in serving if package not in accelerated],
        "train": [package for package in training if package.name not in names],
    }


def main() -> int:
    """Resolve the requirements and write the lock files; return an exit code."""
    if shutil.which("uv") is None:
        print("error: `uv`, which reads hashes without downloads, is not on the PATH", file=sys.stderr)
        return 1
    model = _resolved("builtin-model.txt", "--no-deps")
    serving = [*_resolved("serve.in"), *model]
    training = _resolved("serve.in", str(FOLDER / "train.in"))
    LOCKS.mkdir(exist_ok=True)
    for name, packages in lock_files(serving, training).items():
        header = f"# {_TITLES[name]} of the images (linux/amd64, Python {PYTHON}), written by `make lock`.\n"
        text = header + "".join(f"{package}\n" for package in sorted(packages))
        (LOCKS / f"{name}.txt").write_text(text, encoding="utf-8")
    return 0


def _resolved(file: str, *options: str) -> list[LockedPackage]:
    """Return the packages of a file of requirements and of further ones, in the tested versions."""
    command = ["uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--python-version", PYTHON, "--python-platform", _PLATFORM, "--only-binary", ":all:"]
    command += ["--constraint", str(FOLDER.parent / "requirements.txt"), str(FOLDER / file), *options]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return packages_of(ended.stdout)


if __name__ == "__main__":
    sys.exit(main())
