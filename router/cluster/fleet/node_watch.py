"""What happens on each node while a command runs there, as lines of JSON in a file, for whoever watches.

| line | says |
|---|---|
| `{"node": "n1", "state": "running"}` | the command begins on the node |
| `{"node": "n1", "state": "succeeded"}` | it has ended, or `failed` with `code`, `timed out`, `unreachable`, `refused`|
| `{"node": "n1", "stream": "output", "text": "..."}` | it has printed this, on `output` or on `errors` |
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress

LONGEST = 16 * 1024 * 1024
"""Most octets of texts in the file; changes of states are always written."""

RUNNING, SUCCEEDED, FAILED = "running", "succeeded", "failed"


class NodeWatch:
    """Appends to the file at *path*; a text without *mark*, which the shells of nodes print."""

    def __init__(self, path: str, mark: str) -> None:
        """Create the file.  Where that is impossible, nobody watches."""
        self._file: int | None = None
        self._left = LONGEST
        self._mark = re.compile(rb"\r?\n%s \d{1,3}\r?\n" % mark.encode()) if mark else None
        if path:
            with suppress(OSError):
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def change(self, node: str, state: str, code: int | None = None) -> None:
        """Write that *node* has this *state*, and the exit *code* of its command."""
        self._write({"node": node, "state": state, **({} if code is None else {"code": code})})

    def printed(self, node: str, stream: str, chunk: bytes) -> None:
        """Write that the command on *node* has printed *chunk*."""
        if self._file is None or self._left <= 0:
            return
        self._left -= len(chunk)
        text = (self._mark.sub(b"", chunk) if self._mark else chunk).decode("utf-8", "replace")
        if text:
            self._write({"node": node, "stream": stream, "text": text})

    def _write(self, line: dict[str, object]) -> None:
        # A full disk does not end the command.
        if self._file is not None:
            with suppress(OSError):
                os.write(self._file, json.dumps(line).encode() + b"\n")
