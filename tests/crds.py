"""Location of KubeRay's CRDs on this machine, if they are available."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def crds_folder() -> Path | None:
    """Return the folder of CRDs: CRDS_DIR, otherwise `shared/crds` next to the project; None without CRDs."""
    folder = Path(os.environ.get("CRDS_DIR", _ROOT.parent / "shared" / "crds"))
    return folder if any(folder.rglob("ray.io_rayservices.yaml")) else None
