"""Runs the mm commands of this node.  Commands that change something are recorded before they run.

A command is a list of words; no shell is involved.  With *dry_run*, commands that change something are only recorded.
"""

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from ...settings.models import GpfsSettings
from .errors import CommandFailed, CommandMissing
from .tables import Row, rows

FOLDER = Path("/usr/lpp/mmfs/bin")
LIMIT = timedelta(minutes=5)
"""How long a command may take.  On clusters with many nodes the configuration is sometimes locked for minutes."""

Run = Callable[[Sequence[str]], str]
"""Runs a command, given as words, and returns its output; raises CommandFailed and CommandMissing."""


class Commands:
    """The mm commands; `recorded` holds those that change something, in the order of the calls."""

    def __init__(self, run: Run, *, dry_run: bool = False) -> None:
        """Run commands with *run*; `programs` makes one.  With *dry_run*, `change` runs nothing."""
        self._run = run
        self.dry_run = dry_run
        self.recorded: list[str] = []

    def read(self, *words: str) -> str:
        """Run a command that changes nothing; return its output.  Raises CommandFailed and CommandMissing."""
        return self._run(words)

    def table(self, *words: str, section: str | None = None) -> list[Row]:
        """Return the rows that the command prints; *words* must contain `-Y`.  Raises as `read`."""
        return rows(self._run(words), section)

    def change(self, *words: str) -> str:
        """Record the command and run it, except in a dry run; return its output.  Raises as `read`."""
        self.recorded.append(shlex.join(words))
        return "" if self.dry_run else self._run(words)


def programs(folder: Path = FOLDER, limit: timedelta = LIMIT) -> Run:
    """Return a function that runs the programs in *folder*, each for at most *limit*."""

    def run(words: Sequence[str]) -> str:
        program = folder / words[0]
        if not program.exists():
            raise CommandMissing(f"{program} does not exist: run this on a node of the cluster, or set gpfs.commands")
        return _run([str(program), *words[1:]], words, folder, limit)

    return run


def of_settings(settings: GpfsSettings) -> Commands:
    """Return the mm commands of this machine, as *settings* configure them."""
    return Commands(programs(settings.commands, settings.limit))


def _run(argv: Sequence[str], words: Sequence[str], folder: Path, limit: timedelta) -> str:
    environment = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "HOME": os.environ.get("HOME", "/")}
    try:
        # In its own session, so that its children can be killed with it.
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandMissing(f"{argv[0]} cannot be run: {error}") from error
    with process:
        try:
            output, errors = process.communicate(timeout=limit.total_seconds())
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandFailed(words, None, "") from error
            raise
    text = output.decode("utf-8", "surrogateescape")
    if process.returncode != 0:
        raise CommandFailed(words, process.returncode, errors.decode("utf-8", "replace") or text, text)
    return text
