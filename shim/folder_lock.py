"""The lock of a folder, which one process holds while it works there."""

import contextlib
import fcntl
import time

# Seconds to wait for it: `clusterbus doctor` holds the lock for a moment to see whether a relay runs.
_LOOK, _TRIES = 1.0, 50


def take(folder: int) -> None:
    """Lock the open *folder*; raises BlockingIOError if another process holds the lock for longer than a look takes."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_LOOK / _TRIES)
    return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
