"""What the workers of one test run share: a folder, and folders in it that one of them fills for all."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def used_alone(folder: Path, name: str = "use") -> Iterator[None]:
    """Wait until no other process uses what the lock *name* in *folder* is for."""
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def filled_once(shared: Path, name: str, fill: Callable[[Path], object]) -> Path:
    """Return the folder *name* in *shared*.  The first worker that wants it lets *fill* write into it; others wait.

    Nobody may change it.  What *fill* has not completed is never returned: the next worker begins again.
    """
    folder = shared / name
    with used_alone(shared, f"{name}.lock"):
        if not folder.exists():
            aside = shared / f"{name}.new"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            fill(aside)
            aside.rename(folder)
    return folder
