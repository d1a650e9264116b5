"""Where the real labelled texts are, if they are here at all."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def labelled_texts() -> Path | None:
    """Folder of labelled texts: DATA_DIR, or `data` in the folder `shared` beside the project, or None."""
    folder = Path(os.environ.get("DATA_DIR", _ROOT.parent / "shared" / "data"))
    return folder if (folder / "sst2_dev.parquet").exists() else None
