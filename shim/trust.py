"""Whether a file may be obeyed: only if nobody but root and the relay's own user can change it.

The rules are those of `router/trust.py`, with which a test compares them; nodes have no more than the standard library.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_LINKS = 40


def problem(path: str | os.PathLike[str]) -> str:
    """Return why *path* must not be obeyed, with the way out; empty if it may be, or if it does not exist."""
    try:
        os.stat(path)  # noqa: PTH116 - paths are texts here
        for each, facts in _way(os.fspath(path)):
            found = of_status(each, facts)
            if found:
                return found
    except (OSError, ValueError):
        pass  # who opens it says why that fails
    return ""


def problem_of_secret(path: str | os.PathLike[str], what: str = "a private key") -> str:
    """Return why the secret in *path*, which is *what*, must not be used, with the way out, as `problem` does.

    Whoever can read it can log in with it: besides, no others may, except where nobody can change modes.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 - paths are texts here
        name = os.fspath(path)
        if facts.st_mode & stat.S_IROTH and not _is_read_only(name):
            mode = f"{stat.S_IMODE(facts.st_mode):04o}"
            readable = f"{name} has {what} and is readable by all users (its mode is {mode})"
            return problem(path) or f"{readable}: run chmod o-rwx {name}"
        return problem(path)
    except (OSError, ValueError):
        return ""  # who opens it says why that fails


def of_status(path: str, facts: os.stat_result) -> str:
    """Return why *path*, whose status is *facts*, must not be obeyed; empty if it may be."""
    is_link, is_folder = stat.S_ISLNK(facts.st_mode), stat.S_ISDIR(facts.st_mode)
    me = os.geteuid()
    if facts.st_uid not in (0, me):
        fault = f"belongs to neither root nor {_user(me)}" if me else "does not belong to root"
        repair = f"chown {'-h ' * is_link}root {path}"
    elif is_link or (is_folder and facts.st_mode & stat.S_ISVTX) or not _others_write(facts):
        return ""
    else:
        fault, repair = "is writable by other users", f"chmod go-w {path}"
    if _is_read_only(path):
        return ""
    mode, what = f"{stat.S_IMODE(facts.st_mode):04o}", "the folder " * is_folder
    return f"{what}{path} {fault} (it is {_user(facts.st_uid)}:{_group(facts.st_gid)}, {mode}): run {repair}"


def _others_write(facts: os.stat_result) -> bool:
    if facts.st_mode & stat.S_IWOTH:
        return True
    return bool(facts.st_mode & stat.S_IWGRP) and not _is_private(facts.st_uid, facts.st_gid)


def _is_private(user: int, group: int) -> bool:
    """Say whether *group* is that of *user* alone: it has the same name, and no other members.

    That of root never is: on many systems it is the first group of other users, too.
    """
    if group == 0:
        return False
    try:
        found, owner = grp.getgrgid(group), pwd.getpwuid(user)
    except KeyError:
        return False
    return found.gr_name == owner.pw_name and owner.pw_gid == group and not {*found.gr_mem} - {owner.pw_name}


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _way(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each folder and link on the way to *path*, and what is at its end."""
    there, rest, links = "/", os.path.join(os.getcwd(), path).split("/"), 0  # noqa: PTH109, PTH118 - `Path` drops ".."
    yield there, os.lstat(there)
    while rest:
        name = rest.pop(0)
        if name == "..":
            there = os.path.dirname(there)  # noqa: PTH120 - as above
        if name in ("", ".", ".."):
            continue
        each = os.path.join(there, name)  # noqa: PTH118 - as above
        facts = os.lstat(each)
        yield each, facts
        if not stat.S_ISLNK(facts.st_mode):
            there = each
            continue
        links += 1
        if links > _MOST_LINKS:
            return
        target = os.readlink(each)  # noqa: PTH115 - as above
        there = "/" if target.startswith("/") else there
        rest = [*target.split("/"), *rest]


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
