"""CPU time of commands, beside a Python that only imports what a command line is made with."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.table import Row

RUNS = 7
FILE = Path(__file__).parents[2] / "docker" / "config" / "subscriptions.yaml"
ID = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"
PEER = [sys.executable, "-c", "import typer, rich"]


def run(_url: str) -> list[Row]:
    """Return a row for each command: median CPU seconds of several runs, alternating with the peer."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"CLUSTERBUS_CONSUMERS_STORE": f"sqlite:///{folder}/store.db"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: nothing is compiled at a start
        commands = {
            "clusterbus --help": ["--help"],
            "clusterbus route": ["route", "diskFailure", "--file", str(FILE)],
            "clusterbus check": ["check", str(FILE)],
            "clusterbus why": ["why", ID, "--offline", "--file", str(FILE)],
            "clusterbus dead list": ["dead", "list"],
        }
        return [
            _row(name, [sys.executable, "-m", "clusterbus", *words], environment) for name, words in commands.items()
        ]


def _row(name: str, words: list[str], environment: dict[str, str]) -> Row:
    _spent(words, environment)  # compiles, and makes the store
    pairs = [(_spent(words, environment), _spent(PEER, environment)) for _ in range(RUNS)]
    ours, peer = (statistics.median(each) for each in zip(*pairs, strict=True))
    return Row(f"{name}, CPU / python -c 'import typer, rich'", ours, None, None, "<= 0.3 s", f"s; peer {peer:.2f} s")


def _spent(words: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
