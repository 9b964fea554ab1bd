"""Programs that build packages use: pip and nfpm."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from router.errors import Unreachable

_LIMIT = 900


def run(name: str, words: Sequence[str], variables: Mapping[str, str], folder: Path | None = None) -> str:
    """Run *words*, the tool *name*, with *variables* in *folder*; return the end of what it says where it fails.

    That is never empty then.  Raises Unreachable if it cannot be run.
    """
    try:
        done = subprocess.run(
            words, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{name} cannot be run: {error}") from error
    said = (done.stderr or done.stdout).strip()[-2000:]
    return f"{name} exited with {done.returncode}: {said}" if done.returncode else ""
