"""Decide which files may run: only those that nobody but root and the consumer's user can create or change.

A file is opened first and the open descriptor is checked, so the file cannot be exchanged in between.  Its parent
folders are checked as well: if nobody else can change them, the path still names the file that was checked.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from router import interpreter, trust

from ...errors import ConsumerError
from ...processes import executables
from ...processes.child_process import PATH, User

_MOST_LINKS = 8


class Refused(ConsumerError):
    """A file must not run, because of the file itself or one of its folders."""


class Missing(Refused):
    """The file or folder does not exist."""


@contextmanager
def folder(path: Path) -> Iterator[int]:
    """Yield a descriptor of the folder *path*; raises Refused if other users can change its contents."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Missing(f"the folder {path} does not exist") from None
    except OSError as error:
        raise Refused(f"the folder {path} cannot be opened: {error.strerror}") from error
    try:
        if problem := trust.problem(path, descriptor):
            raise Refused(problem)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def file(directory: int, path: Path) -> Iterator[int]:
    """Yield a descriptor of the file *path*, whose folder is open as *directory*; raises Refused."""
    name, shown = path.name, str(path)
    for _ in range(_MOST_LINKS):
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            break
        except FileNotFoundError:
            raise Missing(f"{shown} does not exist") from None
        except OSError as error:
            name = _followed(directory, path, name, error)
    else:
        raise Refused(f"{shown} is a chain of more than {_MOST_LINKS} links")
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Refused(f"{shown} is not a regular file")
        if problem := trust.of_status(shown, facts):
            raise Refused(problem)
        yield descriptor
    finally:
        os.close(descriptor)


def words(directory: int, path: Path, user: User | None = None, search: str = PATH) -> Sequence[str]:
    """Return the command that runs the program *path* as *user*; raises Refused if it must not or cannot run.

    *search* is the PATH that the program will have.
    """
    with file(directory, path):
        found, runner = [str(path)], str(path)
        if path.suffix == ".py":
            found = interpreter.file(path)
            runner = found[0]
        elif path.suffix == ".pl":
            runner = shutil.which("perl", path=PATH) or ""
            if not runner:
                raise Refused(f"{path} needs perl, which is not installed on this machine")
            found = [runner, str(path)]
        problem = executables.problem(runner, user, search)
        if problem and not isinstance(problem, executables.PossibleProblem):
            raise Refused(f"{problem}, or name it *.py or *.pl" if problem.endswith("with #!") else problem)
        if runner != str(path) and not executables.access(path, os.R_OK, user):
            raise Refused(f"{path} may not be read by the user that runs it: run chmod +r")
        return found


def _followed(directory: int, path: Path, name: str, error: OSError) -> str:
    """Return the name in the same folder that the link *name* points to; raises Refused if it leads elsewhere."""
    try:
        target = os.readlink(name, dir_fd=directory)
    except OSError:
        # It is not a link, so report why it cannot be opened.
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    parent, _, last = target.rpartition("/")
    try:
        inside = not parent or os.path.samestat(os.stat(parent, dir_fd=directory), os.fstat(directory))
    except OSError:
        inside = False
    if not inside or last in {"", ".", ".."}:
        raise Refused(f"{path} is a link out of its folder, to {target[:200]}")
    return last
