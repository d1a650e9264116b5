"""Signal handling of a child process as in a terminal, independent of where the tests run."""

from __future__ import annotations

import signal


def heed_terminal() -> None:
    """Restore the default of Ctrl-C and SIGHUP; for `preexec_fn`.

    A shell's background commands ignore Ctrl-C, and those of `nohup` ignore SIGHUP; children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
