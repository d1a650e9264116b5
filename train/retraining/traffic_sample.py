"""Sample of the traffic that a retrained version will classify, which its reference profile describes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from train.datasets.dedup import NO_KEY, hash64, text_key
from train.prediction_log.reader import Log, Window

FILE = "traffic.parquet"
_MOST_TEXTS = 2_000
"""Maximum number of texts: with 2,000, a share of 50 % has a standard error of about one percentage point."""


def write_traffic(log: Log, window: Window, folder: Path, *, held_out: float) -> int:
    """Write `traffic.parquet`: distinct texts of a window, with or without feedback.

    The texts are those with the lowest hashes, below `held_out`. They are a uniform sample of the distinct
    texts, because the hashes are uniform; and `train.datasets.splits` holds the same texts out of training,
    so the version predicts them as it predicts new texts.

    Args:
        log: Prediction log of the service.
        window: Window of the predictions.
        folder: Existing output folder; a file of an earlier attempt is replaced.
        held_out: Share of the hashes, the same as the share of feedback that is held out of training.

    Returns:
        Number of texts; 0 if the log stores no texts, in which case no file is written.
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
