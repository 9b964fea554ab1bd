"""`clusterbus up`: everything on one machine, started and ended together, found again the next time."""

import re
import shlex
import stat
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.flow import CLUSTERBUS, audited, up
from tests.rabbit import SharedBroker
from tests.scraping import reached
from tests.waiting import wait_for

_TRY = re.compile(r"^ +(/usr/bin/python3 .*)\n", re.MULTILINE)


def topics(folder: Path) -> list[str]:
    return [each.topic for each in audited(folder) if each.event.startswith("gpfs.")]


def command_lines() -> Iterator[str]:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield each.read_bytes().decode(errors="replace")


@pytest.mark.long
@pytest.mark.timeout(240)
def test_everything_runs_keeps_what_it_has_and_leaves_no_process(tmp_path: Path, broker: SharedBroker) -> None:
    kind = "node" if broker.kind == "given" else broker.kind
    here = tmp_path / "here"
    here.mkdir()
    folder = here / "everything"

    with up(here, "--folder", str(folder), CLUSTERBUS_BROKER_KIND=kind) as running:
        # What may be tried is said in a line of its own, which may come a moment later.
        (line,) = wait_for(lambda: _TRY.findall(running.log.read_text()), 30, "what may be tried")
        words = shlex.split(line)
        assert subprocess.run([sys.executable, *words[1:]], check=False, timeout=120).returncode == 0
        (first,) = wait_for(lambda: topics(folder), 60, "the event is in the audit")
        (address,) = re.findall(
            r"the broker's metrics are at http://(127\.0\.0\.1:\d+)/metrics\n", running.log.read_text()
        )
        assert "rabbitmq_build_info" in reached(address, "/metrics", 200)
        add, ask = [CLUSTERBUS, "services", "add", "tickets", "--on", "quota", "--apply"], [CLUSTERBUS, "doctor"]
        script = f". {folder}/environment; {shlex.join(add)} >&2; {shlex.join(ask)}"
        doctor = subprocess.run(["sh", "-ec", script], check=False, capture_output=True, timeout=120)
        assert b"ok\tbroker\tits only node runs, without alarms and partitions" in doctor.stdout, doctor
        assert b"connected to the broker" not in doctor.stderr
        assert (folder / "services" / "tickets.yaml").exists()
    assert first.split(".")[2:5] == ["quota", "softQuotaExceeded", "gpfs1"]

    assert subprocess.run([sys.executable, *words[1:]], check=False, timeout=120).returncode == 0
    with up(here, "--folder", str(folder), CLUSTERBUS_BROKER_KIND=kind):
        wait_for(lambda: len(topics(folder)) == 2, 60, "what was captured meanwhile is there too")

    assert not [each for each in command_lines() if str(folder) in each]


NOTIFYING = """\
version: 1
subscriptions:
  - {name: audit, on: "#", log: {}}
  - {name: mail, on: diskFailure, notify: {to: storage-team, title: x, body: x}}
"""
SETTINGS = """\
broker: {url: "URL"}
consumers:
  subscriptions: SUBSCRIPTIONS
  contacts: {storage-team: {urls: "env:NOBODY"}}
"""


@pytest.mark.long
@pytest.mark.timeout(240)
def test_up_obeys_the_settings_and_other_commands_find_it_by_its_file(tmp_path: Path, vhost_url: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "some.yaml").write_text(NOTIFYING)
    settings = SETTINGS.replace("URL", vhost_url).replace("SUBSCRIPTIONS", str(here / "some.yaml"))
    (here / "settings.yaml").write_text(settings)
    folder = here / "everything"

    with up(here, "--folder", str(folder), before=["--settings", "settings.yaml"], NOBODY="json://127.0.0.1:1") as up_:
        said = up_.log.read_text()
        words = [CLUSTERBUS, "--settings", "settings.yaml"]
        script = f". {folder}/environment; {shlex.join(words)} emit gpfs mount fsName=gpfs1 --cluster prod"
        assert subprocess.run(["sh", "-ec", script], cwd=here, check=False, timeout=120).returncode == 0
        wait_for(lambda: len(topics(folder)) == 1, 60, "the event is in the audit")
        script = f". {folder}/environment; {shlex.join(words)} subscriptions list --json"
        listed = subprocess.run(["sh", "-ec", script], cwd=here, check=True, capture_output=True, timeout=120).stdout

    assert b"mail" in listed
    assert f". {folder}/environment" in said
    assert stat.S_IMODE((folder / "environment").stat().st_mode) == 0o600
    assert not (folder / "broker").exists()
    assert vhost_url.split("@", maxsplit=1)[0].rpartition(":")[2] not in said.replace("guest@", "")


@pytest.mark.long
@pytest.mark.timeout(240)
def test_with_several_brokers_all_programs_find_the_one_that_runs(tmp_path: Path, vhost_url: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    parts = urllib.parse.urlsplit(vhost_url)
    dead = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:1").geturl()
    (here / "settings.yaml").write_text(f"broker: {{url: ['{dead}', '{vhost_url}']}}\n")
    folder = here / "everything"

    with up(here, "--folder", str(folder), before=["--settings", "settings.yaml"]) as running:
        (line,) = wait_for(lambda: _TRY.findall(running.log.read_text()), 60, "what may be tried")
        words = shlex.split(line)
        assert subprocess.run([sys.executable, *words[1:]], check=False, timeout=120).returncode == 0
        wait_for(lambda: len(topics(folder)) == 1, 60, "the event is in the audit")
