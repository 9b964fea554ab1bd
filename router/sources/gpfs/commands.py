"""The mm commands of the node we are on: those that only look are run, those that change are recorded, and then run.

No shell: a command is a list of words.  With *dry_run* what would change something is recorded only.
"""

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from ...sections import GpfsSettings
from .errors import CommandFailed, CommandMissing
from .tables import Row, rows

FOLDER = Path("/usr/lpp/mmfs/bin")
LIMIT = timedelta(minutes=5)
"""How long a command may take: with many nodes the configuration is locked now and then."""

Run = Callable[[Sequence[str]], str]
"""Runs a command of these words and returns what it printed; raises CommandFailed and CommandMissing."""


class Commands:
    """The mm commands; `recorded` are those that change something, in the order in which they were asked for."""

    def __init__(self, run: Run, *, dry_run: bool = False) -> None:
        """Run commands by *run*, see `programs`."""
        self._run = run
        self.dry_run = dry_run
        self.recorded: list[str] = []

    def read(self, *words: str) -> str:
        """Return what the command prints; it changes nothing.  Raises CommandFailed and CommandMissing."""
        return self._run(words)

    def table(self, *words: str, section: str | None = None) -> list[Row]:
        """Return the rows that the command prints; *words* have to have `-Y`.  Raises as `read`."""
        return rows(self._run(words), section)

    def change(self, *words: str) -> str:
        """Record the command and, but for a dry run, run it; return what it printed.  Raises as `read`."""
        self.recorded.append(shlex.join(words))
        return "" if self.dry_run else self._run(words)


def programs(folder: Path = FOLDER, limit: timedelta = LIMIT) -> Run:
    """Return what runs the programs in *folder*, each for *limit* at the most."""

    def run(words: Sequence[str]) -> str:
        program = folder / words[0]
        if not program.exists():
            raise CommandMissing(f"{program} is not here: run this on a node of the cluster, or set gpfs.commands")
        return _run([str(program), *words[1:]], words, folder, limit)

    return run


def of_settings(settings: GpfsSettings) -> Commands:
    """Return the mm commands that *settings* name, for this machine."""
    return Commands(programs(settings.commands, settings.limit))


def _run(argv: Sequence[str], words: Sequence[str], folder: Path, limit: timedelta) -> str:
    environment = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C", "HOME": os.environ.get("HOME", "/")}
    try:
        # A session of its own, so that what it started ends with it.
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
