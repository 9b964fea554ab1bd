"""A callback that cannot store its record: counted, told to syslog or a file, and the supervisor never knows."""

import contextlib
import json
import os
import shutil
import socket

import pytest

from shim.lost_records import LostRecords
from tests.interpreters import interpreters
from tests.qube import Farm

EVERY = interpreters(with_2_7=True)
# The oldest of both Pythons and the newest: they differ in what they do after a signal, and in their clocks.
SOME = sorted({*EVERY} & {"2.7", "3.6"}) + sorted(EVERY, key=lambda each: int(each.split(".")[1]))[-1:]
FIRING = "one:normal:failed-job-self"
PYTHONS = pytest.mark.parametrize("version", SOME)


@pytest.fixture
def farm(tmp_path, machine):
    (tmp_path / "farm").mkdir()
    farm = Farm(tmp_path / "farm", machine.spool)
    farm.apply()
    return farm


def fire(farm, machine, version, *firings):
    ran = farm.fire(*(firings or [FIRING]), python=EVERY[version], before=machine.enter())
    assert [each for each in ran if each["escaped"] or not each["same"] or each["stderr"]] == []


def told(machine):
    """Return the record that syslog has, put together of its parts, and what is said of it."""
    lines = machine.syslog
    texts = [line.partition(": part ")[2].partition(": ")[2] for line in lines]
    return json.loads("".join(texts)), lines[0]


@PYTHONS
def test_without_a_spool_the_record_is_in_syslog_whole_and_counted(farm, machine, version):
    shutil.rmtree(machine.spool)

    fire(farm, machine, version)

    record, line = told(machine)
    assert line.startswith("<27>clusterbus-qube[")
    assert "No such file or directory" in line
    assert record["event"] == "failedJob"
    assert record["arguments"][:4] == ["--id", "19294", "--name", "shot_010 --user grün 😀"]
    assert machine.lost == ("", "e")


@PYTHONS
def test_on_a_full_disk_the_record_is_in_syslog_and_counted_in_the_spool(farm, machine, version):
    machine.mount("-t", "tmpfs", "-o", "size=64k,mode=770", "none", str(machine.spool / "tmp"))
    with contextlib.suppress(OSError):
        (machine.inside(machine.spool / "tmp") / "filler").write_bytes(b"x" * 100_000)

    fire(farm, machine, version)

    record, line = told(machine)
    assert "No space left" in line
    assert record["arguments"][:2] == ["--id", "19294"]
    assert machine.lost == (".d", "")
    assert [each.name for each in (machine.inside(machine.spool / "tmp")).iterdir()] == ["filler"]


@PYTHONS
def test_a_full_spool_keeps_the_old_and_what_was_lost_is_what_the_relay_tells(farm, machine, version):
    file = farm.callbacks / "clusterbus_failed_job.py"
    # Else one in 32 counts, by chance.
    file.write_bytes(file.read_bytes().replace(b" 100000,", b" 3,").replace(b'ident[-1] == "0"', b"True"))

    fire(farm, machine, version, *[FIRING] * 8)

    losses = LostRecords(machine.spool, machine.spool / "run")
    assert [(each.reason, each.count) for each in losses.unreported()] == [("spool full", 5)]
    assert len(list((machine.spool / "new").iterdir())) == 3
    assert "the spool has 3 files" in machine.syslog[0]
    assert "the spool is still full" in machine.syslog[-1]


def test_a_spool_that_was_full_a_moment_ago_is_counted_by_all(farm, machine):
    file = farm.callbacks / "clusterbus_failed_job.py"
    file.write_bytes(file.read_bytes().replace(b" 100000,", b" 1,"))
    (machine.spool / "new" / "old").touch()
    (machine.spool / "full").touch()
    os.utime(machine.spool / "full", (1, 1))

    fire(farm, machine, SOME[-1], *[FIRING] * 5)

    assert machine.lost == (".fffff", "")


def test_links_in_the_spool_are_not_followed(farm, machine, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (machine.spool / "tmp").rmdir()
    (machine.spool / "tmp").symlink_to(elsewhere)
    (machine.spool / "lost").unlink()
    (machine.spool / "lost").symlink_to(elsewhere / "lost")
    (elsewhere / "lost").touch()

    fire(farm, machine, SOME[-1])

    assert [(each.name, each.read_bytes()) for each in elsewhere.iterdir()] == [("lost", b"")]
    assert "not stored" in told(machine)[1]
    assert machine.lost == ("", "e")


@PYTHONS
def test_without_syslog_it_is_in_a_file(farm, machine, version):
    shutil.rmtree(machine.spool)
    (machine._folder / "dev/log").unlink()

    fire(farm, machine, version, FIRING, "split:raises:failed-job-self")

    lines = farm.log.read_text().splitlines()
    assert len(lines) == 2
    assert "not stored: " in lines[0]
    assert '"--id","19294"' in lines[1]
    assert "no such job" in lines[1]
    assert farm.log.stat().st_mode & 0o777 == 0o640


def test_a_syslog_that_is_stuck_holds_up_nothing(farm, machine):
    shutil.rmtree(machine.spool)
    (machine._folder / "dev/log").unlink()
    here = os.open(machine._folder / "dev", os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody_reads:
        nobody_reads.bind(f"/proc/self/fd/{here}/log")
        _fill(f"/proc/self/fd/{here}/log")

        fire(farm, machine, SOME[-1], *[FIRING] * 3)

    os.close(here)
    assert farm.log.read_text().count("not stored") == 3


def _fill(path):
    """Send to *path* until it takes no more."""
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(b"x", path)
            except BlockingIOError:
                return


@PYTHONS
def test_where_nothing_can_be_written_it_is_on_stderr(farm, machine, version):
    shutil.rmtree(machine.spool)
    (machine._folder / "dev/log").unlink()
    farm.log.mkdir()

    (ran,) = farm.fire(FIRING, python=EVERY[version], before=machine.enter())

    assert ran["escaped"] is None
    assert '"--id","19294"' in ran["stderr"]
