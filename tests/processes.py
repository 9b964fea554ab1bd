"""Programs that tests start: none of them outlives pytest, even where that is killed with -9."""

import ctypes
import os
import shutil
import signal
import threading
from collections.abc import Iterable
from typing import Literal

Signal = Literal["KILL", "TERM"]
_PR_SET_PDEATHSIG = 1
_SETPRIV = shutil.which("setpriv")


def bound(words: Iterable[str], end: Signal = "KILL") -> list[str]:
    """Return the command that runs *words* until pytest ends at the latest: the kernel then sends it the signal *end*.

    The kernel looks at the thread that starts it, so elsewhere than in the main thread the command stays as it is.
    """
    if _SETPRIV is None or threading.current_thread() is not threading.main_thread():
        return list(words)
    return [_SETPRIV, "--pdeathsig", end, "--", *words]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of this process without what sets up ours, and with *more*."""
    return {name: text for name, text in os.environ.items() if not name.startswith("CLUSTERBUS_")} | more


def bind() -> None:
    """End this process, which was forked, when the one that forked it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
