"""Where KubeRay's CRDs are, if they are here at all."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def crds_folder() -> Path | None:
    """Folder of CRDs: CRDS_DIR, or `crds` in the folder `shared` beside the project, or None."""
    folder = Path(os.environ.get("CRDS_DIR", _ROOT.parent / "shared" / "crds"))
    return folder if any(folder.rglob("ray.io_rayservices.yaml")) else None
