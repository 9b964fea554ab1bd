"""The credentials of a node: secrets from the folder that has its name on this machine.  They go only to that node."""

import errno
import os
import stat
from pathlib import Path

from ... import trust
from ...broker.users.password_files import NEW
from .errors import Unprepared
from .files import File

FOLDER = "/etc/clusterbus"
GROUP = "clusterbus"
SETTING_OF = {"password": "password-file", "ca.pem": "ca", "node.pem": "certificate", "node.key": "key"}
"""The files that the folder may hold, and the relay setting that names each."""

_SHARED = "ca.pem"
"""What all nodes may have in common: a node that has none of its own gets the one beside the folders of the nodes."""

_SECRET = frozenset({"password", "node.key"})
_LARGEST = 64 * 1024


def credentials(folder: Path) -> dict[str, File]:
    """Return the files in *folder* for its node, by the relay setting that names each; ca.pem may be beside *folder*.

    Where there is a certificate, it is what the node logs in with, and a password beside it stays here.
    Raises Unprepared if the credentials are incomplete, or if other users can read or change them.
    """
    if os.path.lexists(folder / NEW):
        # The broker may already have the new password; then the old one is of no use to the node.
        raise Unprepared(
            f"{folder / NEW} exists: a password change was interrupted;"
            " run `clusterbus broker users --apply` to finish it"
        )
    found: dict[str, File] = {}
    for name, setting in SETTING_OF.items():
        content = _read(folder / name, is_secret=name in _SECRET)
        if content is None and name == _SHARED:
            content = _read(folder.parent / name, is_secret=False)
        if content is not None:
            # Certificates are public; on a hub, router and consumer trust the same authority as its relay.
            found[setting] = File(f"{FOLDER}/{name}", content, 0o640 if name in _SECRET else 0o644, group=GROUP)
    if ("certificate" in found) != ("key" in found):
        raise Unprepared(f"{folder} has only one of node.pem and node.key: add the other one, or remove it")
    if not {"certificate", "password-file"} & found.keys():
        raise Unprepared(
            f"{folder} has neither a password nor node.pem and node.key, so the relay could not log in:"
            " run `clusterbus broker users --apply` to make passwords"
        )
    if "certificate" in found:
        found.pop("password-file", None)
    return found


def _read(path: Path, *, is_secret: bool) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise Unprepared(f"{path} cannot be read: {why}") from error
    try:
        _check(path, os.fstat(file), is_secret=is_secret)
        return os.read(file, _LARGEST)
    finally:
        os.close(file)


def _check(path: Path, status: os.stat_result, *, is_secret: bool) -> None:
    if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= _LARGEST:
        raise Unprepared(f"{path} is not a regular file of 1 to {_LARGEST:,} octets")
    if found := trust.of_status(str(path), status):
        raise Unprepared(found)
    if is_secret and status.st_mode & 0o077:
        raise Unprepared(f"{path}: users other than its owner can read it: run chmod 600 {path}")
