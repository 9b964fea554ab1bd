"""The checks of `clusterbus doctor` on our services here: whether they run, and what they say of themselves."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from router.programs.health import PROBLEM
from router.terminal_text import counted

from ..check_results import Finding

_SYSTEMD = Path("/run/systemd/system")
_UNITS = ("clusterbus-relay", "clusterbus-router", "clusterbus-consume")
_ASKED = ("Id", "LoadState", "ActiveState", "UnitFileState", "Result", "StatusText", "NRestarts")
_LIMIT = 10.0


def services() -> Iterator[Finding]:
    """Check each service of ours that is enabled or running here."""
    if not _SYSTEMD.is_dir():
        return
    words = ["systemctl", "show", f"--property={','.join(_ASKED)}", *(f"{each}.service" for each in _UNITS)]
    try:
        shown = subprocess.run(words, capture_output=True, text=True, timeout=_LIMIT, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding("services", "error", f"systemd does not answer: {error}", "see `systemctl status`")
        return
    yield from findings(shown)


def findings(shown: str) -> Iterator[Finding]:
    """Return what `systemctl show` says of units, a paragraph for each."""
    for paragraph in shown.split("\n\n"):
        facts = dict(line.partition("=")[::2] for line in paragraph.splitlines())
        is_wanted = facts.get("UnitFileState") == "enabled" or facts.get("ActiveState") not in ("inactive", None)
        if facts.get("LoadState") == "loaded" and is_wanted:
            yield _finding(facts["Id"].removesuffix(".service"), facts)


def _finding(name: str, facts: Mapping[str, str]) -> Finding:
    says, restarts = facts.get("StatusText", ""), facts.get("NRestarts", "0")
    again = (
        f"; systemd has restarted it {counted(int(restarts), 'time')}"
        if restarts.isdecimal() and restarts != "0"
        else ""
    )
    log = f"see journalctl -u {name}"
    if facts["ActiveState"] not in ("active", "reloading"):
        seen = f"{name} is {facts['ActiveState']} ({facts.get('Result') or 'no result'}){again}"
        return Finding("services", "error", seen, f"run systemctl start {name}; {log}")
    if says.startswith(PROBLEM):
        return Finding("services", "error", f"{name}: {says.removeprefix(PROBLEM)}{again}", log)
    return Finding("services", "ok", f"{name} runs: {says or 'it says nothing of itself'}{again}")
