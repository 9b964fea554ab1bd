"""Whether a program can be started, seen as the kernel sees it: its file, its first line, and what that line names.

A program that cannot be started is found before an event needs it.  What only the start itself can show, such as a
file that is being written, is left to it.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from . import env_words
from .child_process import PATH, User

_HEAD = 256
"""Octets of a file that the kernel reads to find its interpreter; it cuts a longer line without a word."""

_MOST_INTERPRETERS = 4
_BOM = b"\xef\xbb\xbf"
_ELF = b"\x7fELF"
_RUNS_ALSO = {62: {3}, 183: {40}}
"""The machines (in ELF's numbers) whose programs a machine runs in addition to its own: x86-64 and arm64."""


class PossibleProblem(str):
    """A problem that the start may not have: this machine's env may know more than this module."""

    __slots__ = ()


def found(name: str, search: str = PATH) -> str | None:
    """Return the path of the program *name*, a path or a name to look for in *search*; None if it is not found."""
    return name if "/" in name else shutil.which(name, path=search)


def problem(name: str, user: User | None = None, search: str = PATH) -> str:
    """Return why *user* cannot start the program *name*; an empty text if nothing speaks against it.

    *user* is this process's user by default.  *search* is the PATH that the program will have.  What may speak against
    it, but only the start can tell, is a PossibleProblem.
    """
    path = found(name, search)
    if path is None:
        return _not_found(name, search)
    return _worst(_problems(path, user, search, 0))


def access(path: str | Path, wanted: int, user: User | None = None) -> bool:
    """Return whether *user* may use *path* as *wanted*: os.R_OK, os.W_OK or os.X_OK, or several of them.

    For another user than this process's, access control lists are not considered.
    """
    if user is None:
        return os.access(path, wanted)
    try:
        return all(_allows(each.stat(), bits, user) for each, bits in _way(Path(path), wanted))
    except OSError:
        return False


def _worst(problems: Iterable[str]) -> str:
    """Return the first of *problems* that is certain, else the first possible one, else an empty text."""
    first = ""
    for each in problems:
        if not isinstance(each, PossibleProblem):
            return each
        first = first or each
    return first


def _not_found(name: str, search: str) -> str:
    return f"there is no program {name!r} in the PATH of commands ({search})"


def _problems(path: str, user: User | None, search: str, depth: int) -> Iterator[str]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - `path` is a text
    except FileNotFoundError:
        yield f"{path} does not exist on this machine"
        return
    except OSError as error:
        yield f"{path} cannot be used: {error.strerror}"
        return
    if not stat.S_ISREG(mode):
        yield f"{path} is not a regular file"
        return
    yield from _of_content(path, user, search, depth)
    if not mode & 0o111:
        yield f"{path} is not executable: run chmod +x"
    elif os.statvfs(path).f_flag & os.ST_NOEXEC:
        yield f"{path} is on a file system that is mounted with noexec, so it cannot be started: move it"
    elif not access(path, os.X_OK, user):
        yield f"{path} may not be executed by {_shown(user)}: check the modes of the file and of the folders above it"


def _of_content(path: str, user: User | None, search: str, depth: int) -> Iterator[str]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - `path` is a text
            head = file.read(_HEAD)
    except OSError:
        # What can be executed but not read is compiled: an interpreter could not read it either.
        return
    if head.startswith(b"#!"):
        yield from _of_script(path, head, user, search, depth)
    elif head.startswith(_BOM + b"#!"):
        yield f"{path} begins with a byte order mark, which hides its #!: save it as UTF-8 without BOM"
    elif not head:
        yield f"{path} is empty"
    elif head.startswith(_ELF):
        if not _is_of_this_machine(head):
            yield f"{path} is compiled for another kind of machine"
    elif not _has_more_formats():
        yield f"{path} names no interpreter: begin it with #!"


def _of_script(path: str, head: bytes, user: User | None, search: str, depth: int) -> Iterator[str]:
    """Yield what is wrong with the first line of the script *path*, which begins with *head*."""
    line, newline, _ = head.partition(b"\n")
    runner, _, argument = line[2:].strip(b" \t\0").replace(b"\t", b" ").partition(b" ")
    shown, argument = os.fsdecode(runner), argument.strip(b" ")
    if line.endswith(b"\r"):
        yield f"{path} has lines that end with CR and LF, and the CR counts as a part of the first line: run dos2unix"
    elif not runner:
        yield f"{path} names no interpreter after #!"
    elif not newline and len(head) == _HEAD:
        yield f"{path} has a first line of more than {_HEAD - 1} octets, which the kernel cuts: shorten it"
    elif not shown.startswith("/"):
        yield f"{path} needs the interpreter {shown!r}: write its absolute path"
    elif depth == _MOST_INTERPRETERS:
        yield f"{path} is one of too many scripts that interpret each other"
    elif not access(path, os.R_OK, user):
        yield f"{path} may not be read by {_shown(user)}, so its interpreter cannot read it: run chmod +r"
    elif not os.path.exists(shown):  # noqa: PTH110 - `shown` is a text
        yield f"{path} needs the interpreter {shown!r}, which does not exist on this machine"
    elif wrong := _worst(_problems(shown, user, search, depth + 1)):
        yield type(wrong)(f"{path} needs the interpreter {shown!r}: {wrong}")
    elif os.path.basename(shown) == "env":  # noqa: PTH119 - `shown` is a text
        yield from _of_env(path, os.fsdecode(argument), user, search, depth)


def _of_env(path: str, argument: str, user: User | None, search: str, depth: int) -> Iterator[str]:
    """Yield what is wrong with *argument* of env in the first line of *path*: the kernel passes it as one word."""
    try:
        read = env_words.program(argument, search)
    except env_words.Unknown as error:
        yield PossibleProblem(f"{path} starts env, which {error}: write #!/usr/bin/env -S and then options and program")
        return
    if read is None:
        return
    program, search = read
    if not program:
        yield f"{path} names no program after env, which would start the script again and again"
        return
    hint = "; the kernel passes all of it as one word, which env -S splits" if " " in program else ""
    if "/" not in program or program.startswith("/"):
        there = found(program, search)
        reason = _worst(_problems(there, user, search, depth + 1)) if there else _not_found(program, search)
        if reason:
            yield type(reason)(f"{path} needs {program!r}: {reason}{hint}")
    elif hint:
        # A relative path: whether it exists depends on the folder in which it is started.
        yield PossibleProblem(f"{path} needs {program!r}{hint}")


@cache
def _machine() -> bytes:
    with Path("/proc/self/exe").open("rb") as file:
        return file.read(20)


def _is_of_this_machine(head: bytes) -> bool:
    own = _machine()
    if not own.startswith(_ELF) or _has_more_formats():
        return True
    mine, other = (int.from_bytes(each[18:20], "little" if each[5] == 1 else "big") for each in (own, head))
    return head[5] == own[5] and (mine == other or other in _RUNS_ALSO.get(mine, ()))


def _has_more_formats() -> bool:
    """Return whether this machine runs other kinds of files, such as those of an emulator (binfmt_misc)."""
    try:
        return bool({*os.listdir("/proc/sys/fs/binfmt_misc")} - {"register", "status"})  # noqa: PTH208 - names
    except OSError:
        return False


def _way(path: Path, wanted: int) -> Iterator[tuple[Path, int]]:
    yield path, wanted
    for each in path.absolute().parents:
        yield each, os.X_OK


def _allows(facts: os.stat_result, wanted: int, user: User) -> bool:
    if user.user == 0:
        return wanted != os.X_OK or stat.S_ISDIR(facts.st_mode) or bool(facts.st_mode & 0o111)
    if facts.st_uid == user.user:
        return facts.st_mode >> 6 & wanted == wanted
    if facts.st_gid in (user.group, *user.groups):
        return facts.st_mode >> 3 & wanted == wanted
    return facts.st_mode & wanted == wanted


def _shown(user: User | None) -> str:
    return f"the user {os.geteuid() if user is None else user.user}"
