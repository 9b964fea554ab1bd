"""What neither the spool nor syslog takes is in the last file, and no process of capture lives for ever."""

import contextlib
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from shim import capture
from tests.faults.test_capture_hangs import processes_with, whole_records
from tests.machine import PYTHON, command_of
from tests.waiting import wait_for

EVENT = ("gpfs", "diskFailure", "--fsName", "gpfs1")
HANGING_FSYNC_WITHOUT_FORK = """
#include <errno.h>
#include <unistd.h>
int fsync(int fd) { for (;;) pause(); }
pid_t fork(void) { errno = EAGAIN; return -1; }
"""
NO_FORK = ("strace", "-f", "-q", "-o", "/dev/null", "-e", "inject=clone,clone3,fork,vfork:error=EAGAIN")


def folder_of(machine):
    """Return the folder of *machine*, which holds its /dev and its /run."""
    return machine.spool.parent


def unsaved(machine):
    """Return the lines of the last file: each a sentence and the arguments of its record."""
    file = folder_of(machine) / "run/clusterbus/unsaved"
    found = []
    for line in file.read_text().splitlines() if file.exists() else ():
        sentence, _, record = line.partition(': {"v":1')
        found.append((sentence, json.loads('{"v":1' + record)["arguments"]))
    return found


def syslog_in_place(machine, kind):
    """Replace the syslog of *machine* by a socket of *kind* that nobody reads; return it."""
    (folder_of(machine) / "dev/log").unlink()
    syslog = socket.socket(socket.AF_UNIX, kind)
    here = os.open(folder_of(machine), os.O_PATH)
    syslog.bind(f"/proc/self/fd/{here}/dev/log")
    os.close(here)
    return syslog


def clog(machine):
    """Fill the queue of the syslog of *machine*, so that the next line waits for a reader that never comes."""
    here = os.open(folder_of(machine), os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.connect(f"/proc/self/fd/{here}/dev/log")
        line.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(100_000):
                line.send(b"x" * 1000)
    os.close(here)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["datagrams", "stream"])
def test_with_a_syslog_that_hangs_the_event_is_in_the_last_file_and_no_process_remains(machine, kind):
    (machine.spool / "tmp").rmdir()
    with syslog_in_place(machine, kind) as syslog:
        if kind == socket.SOCK_DGRAM:
            clog(machine)
        else:
            syslog.listen(0)
        words = [*EVENT, "--big", *["x" * 100_000] * 8]  # more than a stream buffers

        ended = machine.run(*words)

        wait_for(lambda: not processes_with(str(machine.spool)), 30, "the end of every process")
    ((sentence, arguments),) = unsaved(machine)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert arguments == words[2:]
    assert "No such file or directory" in sentence
    assert "syslog did not take it: " in sentence
    assert machine.lost == (".e", "")


def test_a_syslog_that_reads_a_stream_has_the_whole_event(machine):
    (machine.spool / "tmp").rmdir()
    with syslog_in_place(machine, socket.SOCK_STREAM) as syslog:
        syslog.listen(1)

        machine.run(*EVENT)

        connection, _ = syslog.accept()
        with connection:
            line = connection.recv(10_000)
    assert line.endswith(b"}\0")
    assert json.loads(line[:-1].partition(b"part 1 of 1: ")[2])["arguments"] == list(EVENT[2:])
    assert unsaved(machine) == []


@pytest.mark.parametrize("option", ["--spool=here", "--spool"])
def test_without_syslog_and_with_a_spool_that_cannot_be_used_the_event_is_in_the_last_file(machine, option):
    (folder_of(machine) / "dev/log").unlink()
    words = [option, "here"] if option == "--spool" else [option]

    # The default spool does not exist here: nothing is installed.
    command = [PYTHON, "-IS", str(capture.__file__), *words, *EVENT]
    ended = subprocess.run(machine.enter(*command), capture_output=True, check=False, timeout=240)

    ((sentence, arguments),) = unsaved(machine)
    file = folder_of(machine) / "run/clusterbus/unsaved"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    assert arguments == list(EVENT[2:])
    assert "No such file or directory" in sentence
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert machine.lost == (".", "e")


def test_the_last_file_has_a_bound_and_a_large_record_is_cut_to_fit(machine):
    (folder_of(machine) / "dev/log").unlink()
    (machine.spool / "new").rmdir()
    (machine.spool / "kept").rmdir()
    for _ in range(6):
        machine.run("gpfs", "mount", *["x" * 100_000] * 15)
    machine.run(*EVENT)

    file = folder_of(machine) / "run/clusterbus/unsaved"
    assert len(unsaved(machine)) == 7
    assert unsaved(machine)[0][1] == ["x" * 100_000] * 15
    assert unsaved(machine)[-1][1] == list(EVENT[2:])
    assert file.stat().st_size <= capture.MOST_UNSAVED
    assert machine.lost == (".eeeeeee", "")


@pytest.mark.parametrize("planted", [os.symlink, os.link])
def test_the_last_file_is_written_through_no_link(machine, planted):
    (folder_of(machine) / "dev/log").unlink()
    (machine.spool / "new").rmdir()
    run = folder_of(machine) / "run/clusterbus"
    run.mkdir()
    victim = run / "victim"
    victim.write_text("unchanged")
    planted(victim, run / "unsaved")

    ended = machine.run(*EVENT)

    assert ended.returncode == 0
    assert victim.read_text() == "unchanged"


def test_where_no_process_can_be_started_a_hanging_disk_costs_the_deadline_and_the_last_file_has_the_event(
    machine, require, tmp_path
):
    (tmp_path / "hang.c").write_text(HANGING_FSYNC_WITHOUT_FORK)
    library = tmp_path / "hang.so"
    subprocess.run([require("gcc"), "-shared", "-fPIC", "-o", library, tmp_path / "hang.c"], check=True, timeout=240)

    ended = machine.run("--deadline", "1", *EVENT, before=("env", f"LD_PRELOAD={library}"))

    assert ended.returncode == -signal.SIGALRM
    ((sentence, arguments),) = unsaved(machine)
    assert sentence == "no process could be started; perhaps not stored"
    assert arguments == list(EVENT[2:])


def test_where_no_process_can_be_started_a_hanging_syslog_costs_the_deadline(machine, require):
    require("strace")
    (machine.spool / "new").rmdir()
    with syslog_in_place(machine, socket.SOCK_DGRAM):
        clog(machine)
        began = time.monotonic()

        ended = machine.run("--deadline", "1.5", *EVENT, before=NO_FORK)

    assert time.monotonic() - began < 30
    assert ended.returncode == 0
    assert {tuple(arguments) for _, arguments in unsaved(machine)} == {EVENT[2:]}
    assert "syslog did not take it" in unsaved(machine)[-1][0]
    assert machine.lost == (".e", "")


def test_a_limit_on_processes_bounds_nothing_that_is_stored(spool):
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    user = 54321
    for folder in (spool.parent, spool, *(spool / name for name in ("tmp", "new", "kept", "lost"))):
        os.chown(folder, user, user)
    for folder in spool.parents:
        if folder.stat().st_uid in (0, user) and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o011)

    def alone():
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        os.setgid(user)
        os.setuid(user)

    program = "import sys; sys.argv[0] = 'c'; exec(compile(sys.stdin.read(), 'capture', 'exec'))"
    command = [PYTHON, "-IS", "-c", program, "--spool", str(spool), *EVENT]
    ended = subprocess.run(
        command,
        input=Path(capture.__file__).read_bytes(),
        preexec_fn=alone,
        capture_output=True,
        check=False,
        timeout=240,
    )

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert len(whole_records(spool)) == 1


def test_a_timer_ends_a_process_whatever_signals_it_inherited(spool):
    program = (
        "import sys, signal, time; sys.path.insert(0, sys.argv[1]); import capture\n"
        "signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))\n"
        "capture._accept_alarm()\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.2)\n"
        "time.sleep(100)"
    )

    ended = subprocess.run(
        [PYTHON, "-c", program, str(Path(capture.__file__).parent)], capture_output=True, check=False, timeout=60
    )

    assert ended.returncode == -signal.SIGALRM


def test_a_child_that_hangs_ends_after_its_life(machine, require, tmp_path):
    # The same capture with a short life, so that the test is short.
    script = Path(capture.__file__).read_text()
    assert "LIFE = 300.0" in script
    short = tmp_path / "capture.py"
    short.write_text(script.replace("LIFE = 300.0", "LIFE = 1.0"))
    (machine.spool / "kept").rmdir()
    os.mkfifo(machine.spool / "kept")
    strace = [require("strace"), "-f", "-q", "-o", "/dev/null", "-e", "inject=fsync:delay_enter=3000000"]

    ended = subprocess.run(
        machine.enter(*strace, PYTHON, "-IS", str(short), "--spool", str(machine.spool), "--deadline", "0.5", *EVENT),
        capture_output=True,
        check=False,
        timeout=240,
    )

    assert ended.returncode == 0
    wait_for(lambda: not processes_with(str(machine.spool)), 30, "the end of every process")
    assert whole_records(machine.spool) == []
    assert machine.lost == (".", "e")


@pytest.mark.parametrize("number", [3, 1023, 1024, 5000])
def test_no_descriptor_of_the_caller_stays_open_however_high_its_number(spool, number):
    daemon = (
        "import os, resource, sys\n"
        "read, write, number = map(int, sys.argv[1:4])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (6000, 6000))\n"
        "write != number and (os.dup2(write, number), os.close(write))\n"
        "os.set_inheritable(number, True)\n"
        # Lower than the number: a descriptor that is open stays so.
        "resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))\n"
        "os.execv(sys.argv[4], sys.argv[4:])\n"
    )
    read, write = os.pipe()
    command = command_of("--spool", str(spool), "--wait", "100", *EVENT)
    waiting = subprocess.Popen(
        [PYTHON, "-IS", "-c", daemon, str(read), str(write), str(number), *command], pass_fds=(write,)
    )
    os.close(write)
    wait_for(lambda: whole_records(spool), 20, "the record")
    os.set_blocking(read, False)

    assert os.read(read, 1) == b""  # its end: capture and its child still run, and none of them holds it
    assert waiting.poll() is None
    os.close(read)
    next((spool / "new").iterdir()).unlink()
    assert waiting.wait(60) == 0


def test_nothing_is_kept_in_a_spool_that_is_unsafe(machine):
    machine.spool.chmod(0o777)
    large = ["x" * 100_000] * 15

    ended = machine.run("gpfs", "mount", *large)

    assert ended.returncode == 0
    assert list((machine.spool / "kept").iterdir()) == []
    assert whole_records(machine.spool) == []
    assert "the spool is unsafe" in machine.syslog[0]
