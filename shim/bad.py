"""Where files go that are no records: kept, with the reason beside them, for somebody to look at."""

from __future__ import annotations

import logging
import os
from itertools import count

log = logging.getLogger("clusterbus.relay.spool")

# With what may be added to it a name has to stay below the file system's 255 bytes.
_LONGEST = 200


class Bad:
    """The folder `bad/` of a spool."""

    def __init__(self, spool: int) -> None:
        """Open it in *spool*, an open folder."""
        self._folder = os.open("bad", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=spool)

    def take(self, name: str, folder: int, reason: str) -> None:
        """Move *name* here from *folder*, replacing nothing, and write the *reason* beside it.

        Raises OSError where it cannot be moved; a reason that cannot be written is only logged.
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
            log.warning("reason cannot be written", extra={"file": free, "reason": reason, "error": str(error)})

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._folder)


def exists(name: str, folder: int) -> bool:
    """Say whether *name* is in the open *folder*, whatever it is."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
