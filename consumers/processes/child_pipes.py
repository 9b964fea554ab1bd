"""The pipes of a child process: its input is written and its output is read, without blocking."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from contextlib import suppress
from typing import IO, Protocol, Self

_CHUNK = 65536


class Keep(Protocol):
    """Takes what the process printed."""

    def __call__(self, chunk: bytes, *, is_error: bool) -> None:
        """Take *chunk* of its output, or of its stderr."""


class Pipes:
    """The input and output of *process*, whose stderr may be a pipe of its own."""

    def __init__(self, process: subprocess.Popen[bytes], feed: bytes, keep: Keep) -> None:
        """Write *feed*, and pass all that the process prints to *keep*."""
        assert process.stdin is not None  # noqa: S101 - for mypy: PIPE was passed
        assert process.stdout is not None  # noqa: S101 - as above
        self._input, self._keep, self._feed = process.stdin, keep, memoryview(feed)
        self._outputs = {process.stdout: False} | ({process.stderr: True} if process.stderr else {})
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        """Stop the pipes from blocking."""
        for pipe in (self._input, *self._outputs):
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_WRITE if pipe is self._input else selectors.EVENT_READ)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pipes."""
        self._selector.close()
        for pipe in (self._input, *self._outputs):
            with suppress(OSError):
                pipe.close()

    def serve(self, patience: float) -> bool:
        """Move available input and output, waiting up to *patience* seconds; return whether there was any."""
        ready = self._selector.select(patience)
        for key, _ in ready:
            if key.fileobj is self._input:
                self._write()
            else:
                self._read(key.fileobj)  # type: ignore[arg-type]  # what was registered
        return bool(ready)

    def drain(self) -> None:
        """Read the rest of the pipes, for one second at most: no writer should be left."""
        deadline = time.monotonic() + 1
        for pipe in self._outputs:
            while not pipe.closed and time.monotonic() < deadline and self._read(pipe):
                pass

    def _write(self) -> None:
        try:
            written = os.write(self._input.fileno(), self._feed[:_CHUNK])
        except BlockingIOError:
            return
        except OSError:
            # The command does not read all of its input, which is allowed.
            self._close(self._input)
            return
        self._feed = self._feed[written:]
        if not self._feed:
            self._close(self._input)

    def _read(self, pipe: IO[bytes]) -> bool:
        try:
            chunk = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._close(pipe)
            return False
        self._keep(chunk, is_error=self._outputs[pipe])
        return True

    def _close(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        with suppress(OSError):
            pipe.close()
