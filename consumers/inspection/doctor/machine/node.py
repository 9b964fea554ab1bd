"""The checks of `clusterbus doctor` on this node: its spool and its relay, as the installer sees them on any node.

The installer runs in a process of its own, with a limit on how long the disk under the spool may take.
"""

import stat
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from router import interpreter, network_folders
from router.cluster.nodes import installer_answer, spool_findings
from router.cluster.nodes.files import part
from router.cluster.nodes.installer_answer import InstallerAnswer, SpoolFacts
from router.cluster.nodes.release import BOOT, SHIM, sent_program
from router.cluster.nodes.spool_findings import OLD
from router.model import durations
from router.terminal_text import counted

from ..check_results import Finding

_MANY = 10_000
_RUN = Path("/run/clusterbus")
_LIMIT = 60.0
"""Seconds for the installer, which answers after 10 at most, also where the disk hangs."""

_UNKNOWN = "run this as root or as clusterbus; where a disk does not answer, dmesg names it"
_SEE_RELAY = "see journalctl -u clusterbus-relay"


def look(folder: Path, run: Path = _RUN) -> InstallerAnswer:
    """Return what the spool *folder* holds, and *run*, where capture counts what it could not store there.

    Raises OSError and ValueError if the installer does not run here.
    """
    places = {"node": "", "root": "", "spool": str(folder.absolute()), "run": str(run)}
    bundle = sent_program((SHIM / "installer.py").read_bytes()) + part({"mode": "spool"}, []) + part(places, [])
    words = [interpreter.PROGRAM, "-IS", "-c", BOOT]
    try:
        ended = subprocess.run(words, input=bundle, capture_output=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"the look at {folder} does not end within {_LIMIT:.0f} s") from error
    return installer_answer.read(ended.stdout.decode("utf-8", "replace") or ended.stderr.decode("utf-8", "replace"))


def spool(folder: Path, answer: InstallerAnswer) -> Iterator[Finding]:
    """Check the spool *folder* by the *answer* of `look`."""
    facts = answer.spool
    if facts is None:
        yield Finding("spool", "error", f"not known: {answer.error}", _UNKNOWN)
        return
    if not facts.exists:
        advice = "install the shim: the relay's tmpfiles entry creates it"
        yield Finding("spool", "error", f"{folder} does not exist", advice)
    elif facts.missing:
        advice = "run systemd-tmpfiles --create, or start the relay"
        yield Finding("spool", "error", f"{folder} lacks {', '.join(facts.missing)}", advice)
    else:
        yield from _of_folder(folder, answer, facts)
    for each in spool_findings.findings(facts):
        yield Finding("spool", each.verdict, each.seen, each.advice)


def _of_folder(folder: Path, answer: InstallerAnswer, facts: SpoolFacts) -> Iterator[Finding]:
    for place, kind in answer.file_systems.items():
        if message := network_folders.about(Path(place), kind):
            yield Finding("spool", "warning", message, "set another spool in relay.conf and shim.spool")
    if facts.mode & stat.S_IWOTH:
        seen = f"{folder} is writable by all users (mode {facts.mode:o})"
        yield Finding("spool", "error", seen, f"chmod o-w {folder}")
    if not facts.waiting:
        yield Finding("spool", "ok", "no records wait")
        return
    seen = f"{counted(facts.waiting, 'record')} waiting, the oldest for {durations.rough(facts.oldest)}"
    if timedelta(seconds=facts.oldest) > OLD or facts.waiting > _MANY:
        yield Finding("spool", "error", seen, "check that the relay runs and reaches the broker: see its log")
    else:
        yield Finding("spool", "ok", seen)


def relay(answer: InstallerAnswer) -> Iterator[Finding]:
    """Check by the *answer* of `look` whether a relay serves the spool, and sends."""
    if answer.spool is None:
        yield Finding("relay", "error", f"not known: {answer.error}", _UNKNOWN)
    elif answer.relay != "active":
        yield Finding("relay", "error", "not running", "run systemctl start clusterbus-relay, or clusterbus up")
    elif answer.connection is None:
        seen = "running, but it does not say whether it is connected"
        yield Finding("relay", "warning", seen, f"run this as root; if it stays so, {_SEE_RELAY}")
    elif answer.connection.problem:
        where = answer.connection.broker or "a broker"
        seen = f"running, but it does not send to {where} for {durations.rough(answer.connection.since)}"
        advice = f"correct broker, password or certificates in relay.conf; if it hangs, restart it; {_SEE_RELAY}"
        yield Finding("relay", "error", f"{seen}: {answer.connection.problem}", advice)
    else:
        broker = answer.connection.broker
        yield Finding("relay", "ok", f"running, connected to {broker}" if broker else "running, idle")
