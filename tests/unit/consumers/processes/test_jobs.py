"""Jobs as they are on disk: what a reader may see, and what becomes of those that nobody looks after."""

import json
import os
import threading
from datetime import timedelta

import pytest

from consumers.processes import cleanup, job_runner
from consumers.processes.job_files import CANCEL, LOCK, REQUEST, RESULT, STATE, Job, JobError, Jobs, find, now
from tests.other_users import as_root

REQUESTED = {"timeout": 10.0, "grace": 1.0, "mark": "e.a.-.1", "output": 10, "about": {}, "asked": now().isoformat()}


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(tmp_path / "jobs")
    made.make()
    return made


def state(**fields):
    return {"owner": cleanup.owner(), "host": os.uname().nodename, "begun": now().isoformat(), "pid": 1, **fields}


def test_of_two_that_begin_a_job_one_is_first_and_both_have_it(jobs):
    first, is_new = jobs.new("a-1", REQUESTED, b"one")
    second, is_new_again = jobs.new("a-1", REQUESTED, b"two")

    assert (is_new, is_new_again) == (True, False)
    assert first == second
    assert first.head("input", 10) == b"one"
    assert [each.name for each in jobs.path.iterdir()] == ["a-1"]


def test_of_many_at_once_one_begins_it(jobs):
    barrier, new = threading.Barrier(8), []

    def begin():
        barrier.wait(120)
        new.append(jobs.new("a-1", REQUESTED, b"")[1])

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert sorted(new) == [False] * 7 + [True]


def test_a_job_is_what_its_files_say(jobs):
    job, _ = jobs.new("a-1", REQUESTED, b"")
    seen = [job.state()]
    job.write(STATE, state())
    seen.append(job.state())
    job.write(STATE, state(owner="another-boot:1:1:1"))
    seen.append(job.state())
    job.write(RESULT, {"ended": "finished", "exit": 0})
    seen.append(job.state())

    assert seen == ["starting", "running", "lost", "finished"]


def test_a_result_of_an_earlier_release_is_read_with_the_word_of_today(jobs):
    job, _ = jobs.new("a-1", REQUESTED, b"")

    job.write(RESULT, {"ended": "through", "exit": 0})

    assert job.state() == "finished"


def test_a_job_of_another_machine_is_believed_to_run_until_its_time_is_up(jobs):
    job, _ = jobs.new("a-1", REQUESTED, b"")
    job.write(STATE, state(owner="another-boot:1:1:1", host="elsewhere"))
    before = job.state()
    long_ago = (now() - timedelta(minutes=6)).isoformat()
    job.write(STATE, state(owner="another-boot:1:1:1", host="elsewhere", begun=long_ago))

    assert (before, job.state()) == ("running", "lost")


def test_a_job_that_nobody_could_begin_is_lost_in_the_end(jobs):
    job, _ = jobs.new("a-1", REQUESTED, b"")
    os.utime(job.path / REQUEST, (0, 0))

    assert job.state() == "lost"


def test_a_result_is_there_whole_or_not_at_all(jobs, monkeypatch):
    job, _ = jobs.new("a-1", REQUESTED, b"")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        job.write(RESULT, {"ended": "finished"})

    assert job.read(RESULT) == {}
    assert not [each for each in job.path.iterdir() if RESULT in each.name]


def test_a_lost_job_is_settled_once(jobs):
    job, _ = jobs.new("a-1", REQUESTED, b"")
    job.write(STATE, state(owner="another-boot:1:1:1"))

    job_runner.settle(job, {"ended": "lost"})
    job_runner.settle(job, {"ended": "cancelled"})

    assert job.read(RESULT)["ended"] == "lost"


def test_a_job_that_is_looked_after_is_settled_by_nobody_else(jobs):
    job, _ = jobs.new("a-1", REQUESTED, b"")
    with job.locked() as first:
        job_runner.settle(job, {"ended": "lost"})
        with Job(job.path).locked() as second:
            assert (first, second) == (True, False)

    assert job.read(RESULT) == {}
    assert (job.path / LOCK).exists()


def test_a_job_that_was_never_begun_is_cancelled_by_who_asks(jobs):
    job, _ = jobs.new("a-1", REQUESTED, b"")

    assert job_runner.cancel(job, "ada")
    assert job.read(RESULT)["by"] == job.read(CANCEL)["by"] == "ada"
    assert not job_runner.cancel(job, "bob")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_can_reach_into_is_refused(tmp_path, mode):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs").chmod(mode)

    with pytest.raises(JobError, match=f"has mode {mode:04o}"):
        Jobs(tmp_path / "jobs").make()


def test_a_job_is_found_by_how_its_name_begins(jobs):
    for each in ("a-1", "a-12", "b-1"):
        jobs.new(each, REQUESTED, b"")

    assert find(jobs.all(), "b").id == "b-1"
    assert find(jobs.all(), "a-1").id == "a-1"
    with pytest.raises(JobError, match="several jobs"):
        find(jobs.all(), "a")
    with pytest.raises(JobError, match="no job c"):
        find(jobs.all(), "c")
    with pytest.raises(JobError, match="no job"):
        find(jobs.all(), "../jobs/a-1")


def test_old_jobs_are_removed_a_bounded_number_at_once_and_running_ones_never(jobs):
    for number in range(6):
        job, _ = jobs.new(f"old-{number}", REQUESTED, b"")
        job.write(RESULT, {"ended": "finished"})
        os.utime(job.path / RESULT, (0, 0))
    running, _ = jobs.new("running", REQUESTED, b"")
    running.write(STATE, state())
    os.utime(running.path / REQUEST, (0, 0))
    fresh, _ = jobs.new("fresh", REQUESTED, b"")
    fresh.write(RESULT, {"ended": "finished"})
    (jobs.path / ".new-left").mkdir()

    removed = [jobs.tidy(timedelta(days=30), most=4), jobs.tidy(timedelta(days=30), most=4)]

    assert removed == [4, 2]
    assert sorted(each.id for each in jobs.all()) == ["fresh", "running"]


@pytest.mark.parametrize("mark", ["01K.quota-mail.-.1", "../../x.a/b.-.1", "a.b.c.d.e", "x", "1.@all;.-.1"])
def test_a_jobs_name_is_one_harmless_word(mark):
    name = job_runner.id_of(mark)

    assert name == job_runner.id_of(mark)
    assert name != job_runner.id_of(mark + "0")
    assert name.replace("-", "").isalnum()
    assert len(name) < 100
    assert json.dumps(name) == f'"{name}"'


@as_root
def test_what_root_writes_about_a_job_of_the_consumers_user_can_be_read_by_it(tmp_path):
    job = Job(tmp_path / "a-1")
    job.path.mkdir(mode=0o700)
    os.chown(job.path, 4711, 4712)

    job.write(REQUEST, REQUESTED)
    with job.locked() as is_ours:
        assert is_ours
    was_cancelled = job_runner.cancel(job, "root")

    assert was_cancelled
    owners = {each.name: (each.stat().st_uid, each.stat().st_gid) for each in job.path.iterdir()}
    assert owners == dict.fromkeys((REQUEST, LOCK, CANCEL, RESULT), (4711, 4712))
