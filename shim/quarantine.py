"""The quarantine of the spool: keeps files that are not valid records, each with its reason, for an administrator."""

from __future__ import annotations

import logging
import os
from itertools import count

log = logging.getLogger("clusterbus.relay.quarantine")

# With its suffixes a name must stay below the file system's limit of 255 bytes.
_LONGEST = 200


class Quarantine:
    """The folder `bad/` of a spool."""

    def __init__(self, spool: int) -> None:
        """Open `bad/` in *spool*, the descriptor of an open folder; raises OSError."""
        self._folder = os.open("bad", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=spool)

    def take(self, name: str, folder: int, reason: str) -> None:
        """Move *name* here from *folder*, without replacing a file, and write the *reason* to `<name>.reason`.

        Raises OSError if the move fails; a reason that cannot be written is only logged.
        """
        wanted = os.fsdecode(os.fsencode(name)[:_LONGEST])
        free = next(
            each
            for each in (wanted if number == 0 else f"{wanted}.{number}" for number in count())
            if not exists(each, self._folder)
        )
        os.rename(name, free, src_dir_fd=folder, dst_dir_fd=self._folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(free + ".reason", flags, 0o640, dir_fd=self._folder)
            with open(file, "wb") as stream:  # noqa: PTH123 - a descriptor, not a path
                stream.write(reason.encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:
            log.warning(
                "cannot write the reason of a file", extra={"file": free, "reason": reason, "error": str(error)}
            )

    def close(self) -> None:
        """Close the folder."""
        os.close(self._folder)


def exists(name: str, folder: int) -> bool:
    """Return whether the open *folder* has an entry *name* of any kind."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
