"""Detection of keys that have not occurred before, with 8 bytes of memory per key."""

import numpy as np
import numpy.typing as npt

from train.prediction_log.join import hashes
from train.prediction_log.reader import Log, Window

MOST_KEYS = 1 << 24
"""Maximum number of stored keys: 128 MiB. Any further key counts as new each time it occurs."""

Keys = npt.NDArray[np.uint64]


class DistinctKeys:
    """Set of the keys that have occurred: sorted runs, which are merged when their lengths become similar."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._runs: list[Keys] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Add keys.

        Returns:
            bool (keys,): whether each key occurs for the first time.
        """
        values, first = np.unique(keys, return_index=True)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, values), len(run) - 1)
            unseen = run[places] != values
            values, first = values[unseen], first[unseen]
        new = np.zeros(len(keys), dtype=np.bool_)
        new[first] = True
        room = self._most - len(self)
        if len(values) and room:
            self._runs.append(values[:room])
        while len(self._runs) > 1 and 2 * len(self._runs[-1]) > len(self._runs[-2]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]), kind="stable")]
        return new


def distinct_texts(log: Log, window: Window, most: int = MOST_KEYS) -> int:
    """Count the distinct texts of a window's predictions, up to `most`.

    Raises:
        LogError: The log cannot be read.
    """
    seen = DistinctKeys()
    for batch in log.predictions(window, ("text_sha256",)):
        seen.add(hashes(batch["text_sha256"]))
        if len(seen) >= most:
            return most
    return len(seen)
