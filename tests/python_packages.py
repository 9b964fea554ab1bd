"""Packages of Python for programs of tests that need another release than the tests themselves."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path


def beside(requirement: str) -> dict[str, str]:
    """Return the environment of programs that find *requirement*, such as `name==1.2`; it is installed once."""
    folder = Path(sys.prefix) / requirement.replace("==", "-")
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (stamp := folder / "installed").exists():
            words = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", folder, requirement]
            done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
            assert done.returncode == 0, done.stderr[-4000:]
            stamp.touch()
    return {**os.environ, "PYTHONPATH": str(folder)}
