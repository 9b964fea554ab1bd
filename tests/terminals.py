"""Commands of `clusterbus` on a terminal of their own, and elsewhere.

`python -m tests.terminals` forks one for each line that it reads, from a program that has imported all of it: that
takes a tenth of a start.
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forking import import_all
from tests.processes import bind, bound
from tests.waiting import SLACK, wait_for

ROOT = Path(__file__).parents[1]
_LIMIT = 20.0

# What our own output may have: colours and weights, and, for lines that are replaced, going up and clearing below.
OURS = re.compile(r"\x1b\[(?:[0-9]+F|J|(?:0|1|2|3[0-7])(?:;(?:1|2|3[0-7]))*m)")

HOSTILE = "[/boo][red]x[conceal]y\x1b[2J\x1b[8mz\x1b[0K\x1b]8;;http://e\x1b\\\x1b]52;c;aGk=\x07\x9b5m\r\b\u202e\u200b\u2028\x7f"
"""Markup, and what clears, conceals, links, writes to the clipboard, rings, goes back, turns round and is not seen."""

# As text, as Python's `repr`, as JSON, or one in another.
SEEN = re.compile(r"\[/boo\]\[red\]x\[conceal\]y\\+(?:x1b|u001b)\[2J\\+(?:x1b|u001b)\[8mz")


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit *code*, and all that it *said*, on stdout and stderr."""

    code: int
    said: str

    @property
    def plain(self) -> str:
        """What it said, less the styles that are ours."""
        return OURS.sub("", self.said)

    def steering(self) -> list[str]:
        """Return the lines with characters that a terminal would obey, or that are not to be seen."""
        return [each for each in self.plain.split("\n") if not each.replace("\t", "").isprintable()]


class Terminals:
    """Runs commands, one after the other; use `terminals()`."""

    def __init__(self, server: "subprocess.Popen[bytes]") -> None:
        self._server = server

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], *, columns: int = 400, until: str = ""
    ) -> Ended:
        """Run *words* on a terminal; ended by SIGTERM once it has said *until*, if that is given."""
        master, slave = pty.openpty()
        try:
            tty.setraw(slave)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
            said = bytearray()
            with self._begun(words, environment, os.ttyname(slave)) as pid:
                deadline = time.monotonic() + _LIMIT * SLACK
                while self._server.stdout not in (ready := self._ready(deadline, master)):
                    assert ready, f"{words} goes on: {said.decode(errors='replace')}"
                    said += os.read(master, 1 << 16)
                    if until and until.encode() in said:
                        os.kill(pid, signal.SIGTERM)
                        until = ""
                code = self._answer("code")
            while select.select([master], [], [], 0)[0]:
                said += os.read(master, 1 << 16)
        finally:
            os.close(master)
            os.close(slave)
        return Ended(code, said.decode("utf-8", "surrogateescape"))

    def pipe(self, words: Sequence[str], environment: Mapping[str, str], file: Path, *, until: str = "") -> Ended:
        """Run *words* with its output into *file*; ended by SIGTERM once it has said *until*, if that is given."""
        file.write_bytes(b"")
        with self._begun(words, environment, str(file)) as pid:
            if until:
                wait_for(lambda: until.encode() in file.read_bytes(), _LIMIT, f"{until} from {words}")
                os.kill(pid, signal.SIGTERM)
            code = self._answer("code")
        return Ended(code, file.read_bytes().decode("utf-8", "surrogateescape"))

    @contextmanager
    def _begun(self, words: Sequence[str], environment: Mapping[str, str], place: str) -> Iterator[int]:
        """Have a command run and give its pid; a block that fails kills it and so leaves the server free again."""
        assert self._server.stdin
        request = {"words": list(words), "environment": dict(environment), "place": place}
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        pid = self._answer("pid")
        try:
            yield pid
        except BaseException:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._answer("code")
            raise

    def _answer(self, kind: str) -> int:
        """Return the number in the server's next line, which has to be of this *kind*."""
        assert self._server.stdout
        assert self._ready(time.monotonic() + _LIMIT * SLACK), f"the server gives no {kind}"
        # It is not buffered and lines are written at once, so nothing of the next one is read.
        line = self._server.stdout.readline().decode()
        assert line.startswith(f"{kind} "), f"the server gives {line!r} and not the {kind}"
        return int(line.removeprefix(kind))

    def _ready(self, deadline: float, *others: int) -> list[Any]:
        """Return which of the server's answer and *others* can be read, none after *deadline*."""
        limit = max(0.0, deadline - time.monotonic())
        return select.select([self._server.stdout, *others], [], [], limit)[0]


@contextmanager
def terminals() -> Iterator[Terminals]:
    """A program that commands are forked from."""
    words = bound([sys.executable, "-m", "tests.terminals"])
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as server:
        # Leaving it closes the server's standard input, which ends the server.
        yield Terminals(server)


def main() -> None:
    """Fork a command for each line."""
    from consumers.cli.main import main as command  # noqa: PLC0415 - only this program needs all of it

    import_all()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            bind()
            _be(command, request)
        os.write(1, b"pid %d\n" % pid)
        os.write(1, b"code %d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _be(command: Callable[[], None], request: Mapping[str, Any]) -> None:
    """Be the command, with what *request* says for standard input and output; never returns."""
    code: Any = 99
    try:
        os.setsid()
        place = os.open(request["place"], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        # Never the server's own standard input, in which the next request comes.
        os.dup2(place if os.isatty(place) else os.open(os.devnull, os.O_RDONLY), 0)
        for each in (1, 2):
            os.dup2(place, each)
        sys.stdin, sys.stdout, sys.stderr = (
            open(number, mode, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 - a number
            for number, mode in enumerate(("r", "w", "w"))
        )
        sys.argv = ["clusterbus", *request["words"]]
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            os.environ.pop(name, None)
        os.environ.update({"TERM": "xterm-256color", **request["environment"]})
        command()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter does it
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
