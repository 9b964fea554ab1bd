"""Capture comes back in its time from a disk that hangs, and whatever moment it is killed at, no reader sees a half."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.machine import command_of
from tests.waiting import wait_for

EVENT = ("gpfs", "diskFailure", "--fsName", "gpfs1")
MINUTE = 60_000_000  # strace counts microseconds
HANGING_FSYNC = """
#include <unistd.h>
#include <signal.h>
int fsync(int fd) { sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0); for (;;) pause(); }
"""


# The timer goes off just before the first read of the pipe, which it does not interrupt then.
LATE_READ = (
    HANGING_FSYNC
    + """
#include <sys/stat.h>
#include <sys/syscall.h>
ssize_t read(int fd, void *buffer, size_t size) {
    static int reads; struct stat facts;
    if (!fstat(fd, &facts) && S_ISFIFO(facts.st_mode) && !reads++) pause();
    return syscall(SYS_read, fd, buffer, size);
}
"""
)


def whole_records(spool):
    """Return the records in *spool*; a half would not be JSON."""
    return [json.loads(path.read_bytes()) for path in (spool / "new").iterdir()]


@contextlib.contextmanager
def hanging(machine, call, *words):
    """Run capture with every *call* of its process lasting a minute; give the seconds until it was back.

    strace waits for the child that hangs, so a shell says when capture itself has come back; when strace goes, the
    disk answers again.
    """
    timed = 'began=$(date +%s.%N); "$@"; echo "$? $began $(date +%s.%N)"'
    strace = [
        "strace",
        "-f",
        "-q",
        "-o",
        "/dev/null",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:delay_enter={MINUTE}",
    ]
    if call == "openat":
        strace += ["-P", str(machine.spool)]  # or everything would hang, Python's start above all
    command = command_of("--spool", str(machine.spool), "--deadline", "1.5", *words, *EVENT)
    process = subprocess.Popen(
        machine.enter(*strace, "sh", "-c", timed, "sh", *command), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        code, began, ended = process.stdout.readline().split()
        assert code == "0"
        yield float(ended) - float(began)
    finally:
        process.kill()
        process.communicate(timeout=240)


def calm(machine):
    """Return the seconds that capture takes under strace where it has nothing to do: how fast this machine is now."""
    began = time.monotonic()
    words = ["strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=fsync", *command_of("--version")]
    subprocess.run(machine.enter(*words), capture_output=True, check=True, timeout=240)
    return time.monotonic() - began


@pytest.mark.parametrize("call", ["openat", "fsync", "renameat"])
@pytest.mark.parametrize("words", [(), ("--wait", "30")])
def test_a_hung_disk_costs_no_more_than_the_deadline_and_the_event_is_told_and_counted(machine, require, call, words):
    require("strace")

    start = calm(machine)
    with hanging(machine, call, *words) as took:
        (line,) = machine.syslog
        # The interpreter's start and strace are not in the deadline, so the machine of this moment is the measure.
        assert took < 1.5 + 1 + 10 * start
        assert "the disk hangs" in line
        assert json.loads(line.partition("part 1 of 1: ")[2])["arguments"] == list(EVENT[2:])
        assert machine.lost == (".", "e")
        assert whole_records(machine.spool) == []


def test_a_record_on_a_disk_that_hung_is_stored_when_it_answers_again(machine, require):
    require("strace")

    with hanging(machine, "renameat"):
        assert whole_records(machine.spool) == []

    wait_for(lambda: whole_records(machine.spool), 10, "the record")
    assert whole_records(machine.spool)[0]["arguments"] == list(EVENT[2:])


@pytest.mark.parametrize("library", [HANGING_FSYNC, LATE_READ], ids=["", "and a timer just before the read"])
def test_a_child_that_no_signal_reaches_holds_neither_capture_nor_the_daemons_pipes(
    machine, require, tmp_path, library
):
    (tmp_path / "hang.c").write_text(library)
    built = tmp_path / "hang.so"
    subprocess.run([require("gcc"), "-shared", "-fPIC", "-o", built, tmp_path / "hang.c"], check=True, timeout=240)
    began = time.monotonic()

    # Read to the end of its output, which a child might hold open.
    ended = machine.run("--deadline", "1", *EVENT, before=("env", f"LD_PRELOAD={built}"))
    took = time.monotonic() - began

    for stuck in processes_with(str(machine.spool)):
        os.kill(stuck, signal.SIGKILL)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert took < 30  # the disk never answers
    assert whole_records(machine.spool) == []
    assert machine.lost == (".", "e")


def processes_with(word):
    """Return the processes that have *word* on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def traced(machine, trace, *options):
    """Run capture on *machine* in one process, as where no fork is to be had, under strace with *options*."""
    no_fork = "inject=clone,clone3,fork,vfork:error=EAGAIN"
    command = ["strace", "-f", "-q", "-o", str(trace), "-e", no_fork, *options]
    return machine.run(*EVENT, before=command)


def test_without_a_process_to_be_had_the_event_is_stored_all_the_same(machine, require, tmp_path):
    require("strace")

    ended = traced(machine, tmp_path / "trace")

    assert ended.returncode == 0
    assert len(whole_records(machine.spool)) == 1


def test_killed_at_any_system_call_a_reader_sees_all_of_a_record_or_none_of_it(machine, require, tmp_path):
    require("strace")
    spool = machine.spool
    traced(machine, tmp_path / "trace")
    calls = re.findall(r"^\d+ +(\w+)\((.*)", (tmp_path / "trace").read_text(), re.MULTILINE)
    names = [name for name, _ in calls]
    first = next(number for number, (_, facts) in enumerate(calls) if f'"{spool}"' in facts and "O_DIRECTORY" in facts)
    renamed = names.index("renameat")
    (whole,) = (spool / "new").iterdir()
    whole.unlink()
    assert {"openat", "write", "fsync", "renameat"} <= set(names[first:])

    for number in range(first, len(names) - 1):
        name, count = names[number], names[: number + 1].count(names[number])
        ended = traced(machine, tmp_path / "again", "-e", f"inject={name}:signal=KILL:when={count}")

        assert ended.returncode == -signal.SIGKILL, (name, count)
        found = whole_records(spool)
        assert len(found) == (number > renamed), (name, count)
        for path in (spool / "new").iterdir():
            assert found[0]["arguments"] == list(EVENT[2:])
            path.unlink()


@pytest.mark.parametrize(("call", "count", "stored"), [("fsync", 1, 0), ("renameat", 1, 0), ("fsync", 2, 1)])
def test_a_child_that_is_killed_is_told_and_counted(machine, require, call, count, stored):
    kill = f"inject={call}:signal=KILL:when={count}"

    ended = machine.run(*EVENT, before=(require("strace"), "-f", "-q", "-o", "/dev/null", "-e", kill))

    (line,) = machine.syslog
    assert ended.returncode == 0
    assert "was killed" in line
    assert len(whole_records(machine.spool)) == stored
    assert machine.lost == (".", "e")


def test_a_capture_whose_daemon_loses_patience_and_kills_its_group_still_stores(machine, require):
    strace = [require("strace"), "-f", "-q", "-o", "/dev/null", "-e", f"inject=fsync:delay_enter={MINUTE}"]
    command = command_of("--spool", str(machine.spool), "--deadline", "50", *EVENT)
    process = subprocess.Popen(machine.enter(*strace, *command), start_new_session=True)
    wait_for(lambda: list((machine.spool / "tmp").iterdir()), 10, "the file that is being written")
    assert whole_records(machine.spool) == []

    os.killpg(process.pid, signal.SIGKILL)  # strace, too: the disk answers again

    assert process.wait(120) == -signal.SIGKILL
    wait_for(lambda: whole_records(machine.spool), 10, "the record")
