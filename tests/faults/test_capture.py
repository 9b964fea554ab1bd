"""Capture exits 0 in its time and loses nothing silently, whatever is broken around it."""

import itertools
import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from shim import capture
from tests.machine import CAPTURE, PYTHON, command_of
from tests.waiting import wait_for

EVENT = ("gpfs", "softQuotaExceeded", "--fsName", "gpfs1", "--blockUsage", "1048576")


def run(spool, *words, **options):
    """Run capture here, and return how it ended."""
    command = command_of("--spool", str(spool), *(words or EVENT))
    return subprocess.run(command, check=False, timeout=240, **{"capture_output": True, **options})


def records(spool):
    """Return the fields of the records in *spool*; that each is whole is checked by reading it."""
    return [json.loads(path.read_bytes()) for path in sorted((spool / "new").iterdir())]


def assert_quiet(ended):
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def assert_told(machine, reason):
    """Assert that syslog has the event whole, with *reason*."""
    (line,) = machine.syslog
    head, _, record = line.partition("part 1 of 1: ")
    assert line.startswith("<27>")  # daemon, error
    assert "clusterbus-capture[" in head
    assert "not stored" in head
    assert reason in head
    assert json.loads(record)["arguments"] == list(EVENT[2:])


def test_a_capture_is_one_whole_record_and_nothing_else(machine):
    ended = machine.run(*EVENT)

    (record,) = records(machine.spool)
    (file,) = (machine.spool / "new").iterdir()
    assert_quiet(ended)
    assert (record["source"], record["event"], record["arguments"]) == (EVENT[0], EVENT[1], list(EVENT[2:]))
    assert file.name.endswith(f".{record['id']}.json")
    assert not list((machine.spool / "tmp").iterdir())
    assert machine.lost == (".", "")
    assert machine.syslog == []


def test_bytes_that_are_not_utf_8_come_back(spool):
    raw = [b"\xff\xfe", b"gr\xc3\xbc\xc3\x9fe", b"latin \xe4", b'"\\\n\t', b""]

    run(spool, "gpfs", "mount", *raw)

    assert [os.fsencode(text) for text in records(spool)[0]["arguments"]] == raw


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "de_DE.ISO-8859-1"])
def test_bytes_come_back_in_every_locale(spool, locale):
    run(spool, "gpfs", "mount", b"\xff\xe4\xc3\xa4", env={"LC_ALL": locale})

    assert os.fsencode(records(spool)[0]["arguments"][0]) == b"\xff\xe4\xc3\xa4"


def test_a_full_disk_is_told_and_counted(machine):
    machine.mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(machine.spool))
    disk = machine.inside(machine.spool)
    disk.chmod(0o755)
    for name in ("tmp", "new", "kept"):
        (disk / name).mkdir()
    (disk / "lost").write_text(".")
    with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
        ballast.writelines(itertools.repeat(bytes(4096)))

    ended = machine.run(*EVENT)

    assert_quiet(ended)
    assert_told(machine, "No space left on device")
    assert machine.lost == (".d", "")
    assert [*(disk / "new").iterdir(), *(disk / "tmp").iterdir()] == []


def test_a_read_only_disk_is_told_and_counted(machine):
    machine.mount("--bind", str(machine.spool), str(machine.spool))
    machine.mount("-o", "remount,ro,bind", str(machine.spool))

    ended = machine.run(*EVENT)

    assert_quiet(ended)
    assert_told(machine, "Read-only file system")
    assert machine.lost == (".", "e")


@pytest.mark.parametrize("missing", ["", "new", "tmp"])
def test_a_missing_folder_is_told_and_counted_and_not_made(machine, missing):
    (machine.spool / missing).rename(machine.spool.parent / "elsewhere")

    ended = machine.run(*EVENT)

    assert_quiet(ended)
    assert_told(machine, "No such file or directory")
    assert "e" in "".join(machine.lost)
    assert not (machine.spool / missing).exists()


@pytest.mark.parametrize("planted", ["", "new", "tmp"])
def test_a_symbolic_link_in_place_of_a_folder_is_not_followed(machine, planted):
    elsewhere = machine.spool.parent / "elsewhere"
    (machine.spool / planted).rename(elsewhere)
    (machine.spool / planted).symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))

    ended = machine.run(*EVENT)

    assert_quiet(ended)
    assert_told(machine, "Not a directory")
    assert sorted(elsewhere.rglob("*")) == before
    assert machine.lost in ((".", "e"), (".e", ""))
    if not planted:
        assert (elsewhere / "lost").read_text() == "."


@pytest.mark.parametrize("link", [os.symlink, os.link, "fifo"])
def test_a_planted_lost_is_not_written_and_the_loss_is_counted_in_run(machine, link):
    victim = machine.spool.parent / "victim"
    victim.write_text("as it was")
    (machine.spool / "lost").unlink()
    if link == "fifo":
        os.mkfifo(machine.spool / "lost")
    else:
        link(victim, machine.spool / "lost")
    (machine.spool / "tmp").rmdir()

    ended = machine.run(*EVENT)

    assert_quiet(ended)
    assert_told(machine, "No such file or directory")
    assert victim.read_text() == "as it was"
    assert (machine.spool.parent / "run/clusterbus/lost").read_text() == "e"


@pytest.mark.parametrize("planted", ["full", "kept"])
def test_a_symbolic_link_in_place_of_what_is_seldom_used_is_not_followed(machine, planted):
    victim = machine.spool.parent / "victim"
    victim.mkdir()
    before = victim.stat().st_mtime_ns
    if planted == "kept":
        (machine.spool / "kept").rmdir()
    (machine.spool / planted).symlink_to(victim)
    large = ["x" * 100_000] * 15

    first = machine.run("--max-files", "1", "gpfs", "mount", *large)
    second = machine.run("--max-files", "1", "gpfs", "mount")

    assert_quiet(first)
    assert_quiet(second)
    assert victim.stat().st_mtime_ns == before
    assert list(victim.iterdir()) == []
    assert len(records(machine.spool)) == 1
    assert machine.lost == (".f", "")


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o770, 4711)])
def test_a_spool_of_a_stranger_or_of_everyone_is_refused(machine, mode, owner):
    os.chown(machine.spool, owner, 0)
    machine.spool.chmod(mode)

    ended = machine.run(*EVENT)

    assert_quiet(ended)
    assert_told(machine, "the spool is unsafe: make root its owner")
    assert records(machine.spool) == []


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_record_is_for_its_owner_and_the_group_of_the_spool_whatever_the_umask(spool, umask):
    for folder in (spool, spool / "tmp", spool / "new"):
        if os.geteuid() == 0:
            os.chown(folder, 0, 4711)
        folder.chmod(0o2770)

    run(spool, umask=umask)

    (file,) = (spool / "new").iterdir()
    facts = file.stat()
    assert stat.S_IMODE(facts.st_mode) == 0o640
    assert (facts.st_uid, facts.st_gid) == (os.geteuid(), (spool / "new").stat().st_gid)


def test_capture_is_one_executable_file_that_runs_isolated():
    with CAPTURE.open("rb") as source:
        assert source.readline() == b"#!/usr/bin/python3 -IS\n"
    assert CAPTURE.stat().st_mode & 0o111 == 0o111
    assert CAPTURE.stat().st_mode & 0o002 == 0


def test_past_the_bound_the_old_is_kept_and_the_new_told_and_counted(machine):
    for _ in range(2):
        machine.run("--max-files", "2", *EVENT)
    old = records(machine.spool)

    ended = machine.run("--max-files", "2", *EVENT)

    assert_quiet(ended)
    assert_told(machine, "the spool is full (2 files")
    assert machine.lost == (".f", "")
    assert records(machine.spool) == old


def test_a_full_spool_takes_records_again_when_the_relay_has_emptied_it(machine):
    for _ in range(4):
        machine.run("--max-files", "2", *EVENT)
    for path in (machine.spool / "new").iterdir():
        path.unlink()

    machine.run("--max-files", "2", *EVENT)

    assert len(records(machine.spool)) == 1
    assert machine.lost == (".ff", "")
    assert not (machine.spool / "full").exists()  # so that the next capture need not count


def test_a_folder_in_place_of_the_mark_of_a_full_spool_costs_no_event(machine):
    (machine.spool / "full").mkdir()

    assert_quiet(machine.run(*EVENT))

    assert len(records(machine.spool)) == 1
    assert machine.lost == (".", "")


def test_the_records_in_the_spool_are_counted_when_nobody_waits_any_more(spool, require, tmp_path):
    for number in range(200):
        (spool / "new" / f"{number}").touch()
    strace = [
        require("strace"),
        "-f",
        "-q",
        "-o",
        str(tmp_path / "trace"),
        "-e",
        "trace=write,fsync,getdents64",
    ]
    command = command_of("--spool", str(spool), "--max-files", "100", *EVENT)

    subprocess.run([*strace, *command], check=True, timeout=240)

    lines = (tmp_path / "trace").read_text().splitlines()
    child = next(line.split()[0] for line in lines if " fsync(" in line)
    names = [line.split()[1].partition("(")[0] for line in lines if line.split()[0] == child and "(" in line.split()[1]]
    # The record, both syncs, the word to the process that waits.
    assert names[:4] == ["write", "fsync", "fsync", "write"]
    assert "getdents64" in names[4:]


def test_a_spool_with_many_records_is_listed_by_one_capture_in_thirty_two(spool, monkeypatch):
    for number in range(200):
        (spool / "new" / f"{number:019d}.json").touch()
    listed = []
    scandir = capture.posix.scandir
    monkeypatch.setattr(capture.posix, "scandir", lambda folder: listed.append(folder) or scandir(folder))

    for last in capture._CROCKFORD:
        capture.mark_if_full(str(spool), f"01{last}")

    assert listed == [f"{spool}/new"]
    assert not (spool / "full").exists()


def test_the_bound_in_bytes_holds(machine):
    for _ in range(5):
        machine.run("--max-bytes", "1000", "gpfs", "mount", "x" * 400)

    assert len(records(machine.spool)) == 2
    assert machine.lost == (".fff", "")


def test_a_large_backlog_passes_its_bound_by_a_few_dozen_records_at_most(spool):
    for number in range(300):
        (spool / "new" / f"{number}").touch()
    refused = 0

    for _ in range(600):
        try:
            record = capture.record_now("gpfs", "mount", [])
            capture.put(str(spool), record, max_files=300)
            capture.mark_if_full(str(spool), record.id, max_files=300)
        except capture.Full:
            refused += 1

    # One in 32 counts: that 250 in a row do not is one chance in 2,800.
    assert 600 - refused < 250
    assert len(list((spool / "new").iterdir())) == 300 + 600 - refused


def test_the_largest_command_line_is_kept_whole_and_its_record_cut(spool):
    arguments = [b"%06d" % number + b"\xff" * 100_000 for number in range(18)]

    ended = run(spool, "gpfs", "mount", *arguments, env={})

    (record,) = records(spool)
    assert_quiet(ended)
    assert [os.fsencode(text) for text in record["arguments"]] == arguments[:1]  # JSON writes six bytes for each
    assert record["cut"] == {"bytes": 18 * 100_006 + 17, "kept": record["id"]}
    assert (spool / "kept" / record["id"]).read_bytes() == b"\0".join(arguments)
    assert stat.S_IMODE((spool / "kept" / record["id"]).stat().st_mode) == 0o640


def test_what_cannot_be_kept_is_told_whole_and_its_record_stored(machine):
    (machine.spool / "kept").rmdir()
    arguments = [f"{number:06d}" * 16_000 for number in range(15)]

    ended = machine.run("gpfs", "mount", *arguments)

    (record,) = records(machine.spool)
    lines = machine.syslog
    assert_quiet(ended)
    assert record["cut"]["kept"] == ""
    assert [int(line.split("part ")[1].split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    assert all(len(line) < 8192 for line in lines)
    told = json.loads("".join(line.split(f" of {len(lines)}: ")[1] for line in lines))
    assert told["arguments"] == arguments


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_descriptors_do_no_harm(machine, closed):
    ended = machine.run(*EVENT, before=("sh", "-c", f'exec "$@" {closed}', "sh"))

    assert ended.returncode == 0
    assert len(records(machine.spool)) == 1
    assert machine.syslog == []


def test_full_and_broken_descriptors_do_no_harm(spool):
    read, write = os.pipe()
    os.close(read)
    with Path("/dev/full").open("wb") as full:
        assert run(spool, capture_output=False, stdout=write, stderr=full, stdin=full).returncode == 0
    os.close(write)

    assert len(records(spool)) == 1


def test_an_empty_environment_does_no_harm(spool):
    assert_quiet(run(spool, env={}))

    assert len(records(spool)) == 1


def test_nothing_that_a_user_has_planted_is_run(spool, tmp_path):
    trap = tmp_path / "trap"
    trap.mkdir()
    spring = f"open({str(trap / 'sprung')!r}, 'w').close()\nraise SystemExit(3)\n"
    for name in ("os", "posix", "time", "select", "syslog", "sitecustomize", "usercustomize", "encodings", "startup"):
        (trap / f"{name}.py").write_text(spring)
    for name in ("python3", "sh"):
        (trap / name).write_text(f"#!/bin/sh\ntouch {trap / 'sprung'}\n")
        (trap / name).chmod(0o755)
    hostile = {
        "PYTHONPATH": str(trap),
        "PYTHONHOME": str(trap),
        "PYTHONSTARTUP": str(trap / "startup.py"),
        "PYTHONUSERBASE": str(trap),
        "PYTHONINSPECT": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONIOENCODING": "nonsense",
        "HOME": str(trap),
        "PATH": str(trap),
    }

    ended = run(spool, env=hostile, cwd=trap, stdin=subprocess.DEVNULL)

    assert_quiet(ended)
    assert not (trap / "sprung").exists()
    assert len(records(spool)) == 1


def test_a_deleted_working_directory_does_no_harm(spool, tmp_path):
    (tmp_path / "gone").mkdir()
    command = ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", str(tmp_path / "gone")]

    ended = subprocess.run(
        [*command, *command_of("--spool", str(spool), *EVENT)], capture_output=True, check=False, timeout=240
    )

    assert_quiet(ended)
    assert len(records(spool)) == 1


def test_ignored_and_blocked_signals_do_no_harm(spool):
    everything = sorted(set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})

    def inherit():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, everything)

    began = time.monotonic()
    # Far from the bound below, so a slow machine does not look like a capture that waits for its deadline.
    ended = run(spool, "--deadline", "60", *EVENT, preexec_fn=inherit)

    assert_quiet(ended)
    assert time.monotonic() - began < 30
    assert len(records(spool)) == 1


def test_a_limit_on_file_sizes_is_reported_to_syslog_which_also_says_that_the_loss_is_not_counted(machine):
    ended = machine.run(*EVENT, before=("prlimit", "--fsize=0"))

    assert_quiet(ended)
    assert_told(machine, "File too large")
    assert records(machine.spool) == []
    # `lost` is a file too, so that limit keeps it from growing.
    assert "and not counted: OSError(27" in machine.syslog[0]


@pytest.mark.parametrize("files", range(3, 12))
def test_a_limit_on_descriptors_loses_nothing_from_where_python_starts(machine, files):
    ended = machine.run(*EVENT, before=("prlimit", f"--nofile={files}"))

    if ended.returncode == 0:
        assert len(records(machine.spool)) + len(machine.syslog) >= 1
    else:
        assert files <= 4, ended.stderr


def test_a_wrong_option_is_reported_and_the_event_stored(machine):
    ended = machine.run("--wait", "forever", "--colour", "red", *EVENT)

    (record,) = records(machine.spool)
    (line,) = machine.syslog
    assert_quiet(ended)
    assert (record["event"], record["arguments"]) == (EVENT[1], list(EVENT[2:]))
    assert "stored, but: '--wait' 'forever' is not a valid option; '--colour' 'red' is not a valid option" in line
    assert record["id"] in line


@pytest.mark.parametrize("words", [[], ["gpfs"], ["gpfs", "--fsName", "gpfs1"]])
def test_a_call_without_an_event_is_stored_as_it_was_and_reported(machine, words):
    ended = machine.run(*words)

    (record,) = records(machine.spool)
    assert_quiet(ended)
    assert (record["source"], record["event"]) == ((words or ["_"])[0], "_")
    assert record["arguments"] == ["--spool", str(machine.spool), *words]
    assert "SOURCE and EVENT must come before the arguments" in machine.syslog[0]


def test_version_says_the_version():
    ended = subprocess.run(command_of("--version"), capture_output=True, check=False, timeout=240)

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.startswith(b"clusterbus-capture ")


def test_wait_returns_when_the_record_is_confirmed(spool):
    waiting = subprocess.Popen(command_of("--spool", str(spool), "--deadline", "4", "--wait", "200", *EVENT))
    wait_for(lambda: list((spool / "new").iterdir()), 10, "the record")
    time.sleep(4.2)  # past the deadline, which does not bound the wait
    assert waiting.poll() is None

    next((spool / "new").iterdir()).unlink()

    assert waiting.wait(120) == 0


@pytest.mark.parametrize("seconds", ["-400", "-inf"])
def test_a_negative_wait_waits_for_nothing_and_costs_no_event(spool, seconds):
    assert_quiet(run(spool, "--wait", seconds, *EVENT))

    assert len(records(spool)) == 1


def test_wait_returns_when_its_time_is_up(spool):
    began = time.monotonic()
    run(spool, "--wait", "0.7", "--deadline", "60", *EVENT)
    took = time.monotonic() - began

    assert 0.7 < took < 30  # half of the deadline, which does not count here
    assert len(records(spool)) == 1


def test_five_hundred_at_once_are_all_stored_whole_and_none_is_given_up(machine):
    # Twelve times the default deadline, because other tests run at the same time. The benchmark uses the default.
    loop = 'for n in $(seq 500); do "$@" --number $n & done; wait'

    machine.run("--deadline", "60", *EVENT, before=("sh", "-c", loop, "sh"))

    found = records(machine.spool)
    assert sorted(int(record["arguments"][-1]) for record in found) == list(range(1, 501))
    assert len({record["id"] for record in found}) == 500
    assert machine.syslog == []
    assert machine.lost == (".", "")


def test_no_dead_child_is_left_to_the_daemon(spool):
    reaper = "import ctypes,os,subprocess,sys; ctypes.CDLL(None).prctl(36,1,0,0,0); subprocess.run(sys.argv[1:])\n"
    reaper += "try: print(os.waitpid(-1,0))\nexcept ChildProcessError: print('none')"

    ended = subprocess.run(
        [PYTHON, "-c", reaper, *command_of("--spool", str(spool), *EVENT)],
        capture_output=True,
        check=False,
        timeout=240,
    )

    assert ended.stdout == b"none\n"


def test_ten_megabytes_of_arguments_are_stored_in_the_deadline(spool):
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import capture\n"
        "words = ['gpfs', 'mount'] + ['\\udcff' * 100000] * 100\n"
        "capture.main(['--spool', sys.argv[2], *words])"
    )

    ended = subprocess.run(
        [PYTHON, "-c", program, str(CAPTURE.parent), str(spool)], capture_output=True, check=False, timeout=240
    )

    (record,) = records(spool)
    # After the deadline, capture would have stored nothing: no clock of the test's own is needed.
    assert_quiet(ended)
    assert (spool / "kept" / record["id"]).read_bytes() == b"\0".join([b"\xff" * 100_000] * 100)
    assert len(record["arguments"]) == 1


_PROCESS_1 = """
import os, subprocess, sys
name, *command = sys.argv[1:]
with open("/proc/self/comm", "w") as file: file.write(name)
subprocess.run(command, check=True)
left = 0
try:
    while os.wait(): left += 1
except ChildProcessError:
    print(left)
"""


@pytest.mark.parametrize(("name", "spool", "left"), [("systemd", "", 1), ("systemd", "missing", 0), ("mmfsd", "", 0)])
def test_only_a_process_1_that_reaps_is_left_a_child_and_none_that_still_has_to_report(machine, name, spool, left):
    command = machine.enter(
        *("unshare", "--pid", "--fork", "--mount-proc", PYTHON, "-c", _PROCESS_1, name),
        *command_of("--spool", str(machine.spool / spool), *EVENT),
    )

    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)

    assert ended.stdout == f"{left}\n"
    assert len(records(machine.spool)) + len(machine.syslog) == 1


@pytest.mark.parametrize(("name", "pauses"), [("systemd", 1), ("mmfsd", 0)])
def test_a_child_that_nobody_waits_for_leaves_the_processor_to_the_process_before_it(
    machine, require, tmp_path, name, pauses
):
    # Until Python 3.10, sleep calls select.
    calls = "trace=write,clock_nanosleep,pselect6,select"
    strace = [require("strace"), "-f", "-q", "-o", str(tmp_path / "trace"), "-e", calls]
    process_1 = ["unshare", "--pid", "--fork", "--mount-proc", PYTHON, "-c", _PROCESS_1, name]
    command = command_of("--spool", str(machine.spool), *EVENT)

    subprocess.run(machine.enter(*process_1, *strace, *command), capture_output=True, check=True, timeout=240)

    _, stored, after = (tmp_path / "trace").read_text().partition('"."')
    assert stored
    assert len(re.findall(r"(?:sleep|select6?)\(", after)) == pauses
