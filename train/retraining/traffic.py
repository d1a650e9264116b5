"""A sample of the traffic that a retrained version will answer: what its reference profile describes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from train.captured.reading import Log, Window
from train.texts.keys import NO_KEY, hash64, text_key

FILE = "traffic.parquet"
_MOST_TEXTS = 2_000
"""More would not be seen in the profile: of so many, a share of a half is known to about a point."""


def write_traffic(log: Log, window: Window, folder: Path, *, held_out: float) -> int:
    """Write `traffic.parquet`: distinct texts of a window, whether they have feedback or not.

    The texts are those with the least hashes, below `held_out`. That is a uniform sample of the distinct
    texts, because the hashes are uniform; and `train.texts.parts` holds the same texts out of training, so
    the version answers them as it answers new ones.

    Args:
        log: Of the service.
        window: Of the predictions.
        folder: Exists; a file of an earlier try is replaced.
        held_out: Share of the hashes, as of the feedback that is held out of training.

    Returns:
        How many texts there are; 0 if the log keeps no texts, and nothing is written.
    """
    kept: dict[int, str] = {}
    least = int(held_out * 2**64)
    for batch in log.predictions(window, ("text",)):
        for text in pc.unique(batch["text"]).drop_null().to_pylist():
            key = hash64(text_key(text))
            if key < least and key != NO_KEY:
                kept.setdefault(key, text)
        if len(kept) > _MOST_TEXTS:
            kept = {key: kept[key] for key in sorted(kept)[:_MOST_TEXTS]}
            least = max(kept)
    if kept:
        texts = pa.table({"text": [kept[key] for key in sorted(kept)]})
        parquet.write_table(texts, folder / FILE, compression="zstd")
    return len(kept)
