"""Location of the real labelled texts on this machine, if they are available."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def labelled_texts() -> Path | None:
    """Return the folder of labelled texts: DATA_DIR, otherwise `shared/data` next to the project.

    Return None if the folder has no labelled texts.
    """
    folder = Path(os.environ.get("DATA_DIR", _ROOT.parent / "shared" / "data"))
    return folder if (folder / "sst2_dev.parquet").exists() else None
