"""What is to be in a supervisor's folder, and its way there: lines and files, drift in each, and nobody else's."""

import os
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.cluster.callbacks.qube import conf
from router.cluster.callbacks.qube.errors import Changed, ConfDamaged, FolderMissing, NotWritten, QubeError, Unsafe
from router.cluster.callbacks.qube.folder import Folder
from router.cluster.callbacks.qube.plan import LEFTOVER
from router.cluster.callbacks.qube.registrar import Status
from router.cluster.callbacks.qube.scripts import Place, script
from router.cluster.callbacks.qube.triggers import trigger_of, wanted_triggers
from router.errors import SettingsError
from tests.qube import CATALOGUE, Farm

FOREIGN = (
    b"#\n# site's own\n#\nlogFailuresToDB.py = failed-job-self\nmail-status.qcb=done-job-self # \xe9\r\n\n  x.pl = y"
)
FAILED = "clusterbus_failed_job.py"
DEFAULTS = [
    *("clusterbus_submit_job.py", "clusterbus_running_job.py", "clusterbus_blocked_job.py"),
    *("clusterbus_complete_job.py", FAILED, "clusterbus_killed_job.py", "clusterbus_removed_job.py"),
]
TRIGGERS = [trigger_of(each) for each in CATALOGUE.events.values()]


@pytest.fixture
def farm(tmp_path):
    return Farm(tmp_path)


@pytest.fixture
def applied(farm):
    farm.conf.write_bytes(FOREIGN)
    farm.apply()
    return farm


def test_each_event_has_the_trigger_that_qube_knows_it_by():
    expressions = {each.event: each.expression for each in TRIGGERS}

    assert expressions["failedJob"] == "failed-job-self"
    assert expressions["failedWork"] == "failed-work-self-*"
    assert expressions["timeoutWork"] == "timeout-work-self-*"
    assert expressions["runningSubjob"] == "running-subjob-self-*"
    assert len({each.file for each in TRIGGERS}) == len(TRIGGERS)


def test_events_are_spelled_as_their_triggers():
    for each in CATALOGUE.events.values():
        name, kind = each.aliases[0].split("-")
        assert (each.name, each.category, each.subject) == (f"{name}{kind.capitalize()}", kind, ("id",))


def test_what_fires_for_every_frame_or_repeats_is_off_by_default(farm):
    wanted = wanted_triggers(farm.settings, CATALOGUE)

    assert [each.file for each in wanted] == DEFAULTS


def test_events_are_asked_for_by_name_by_trigger_and_by_family(farm):
    farm.set(events="job failed-work", without="doneJob modifiedJob")

    wanted = {each.event for each in wanted_triggers(farm.settings, CATALOGUE)}

    assert "failedWork" in wanted
    assert "assignedJob" in wanted
    assert not wanted & {"doneJob", "modifiedJob", "runningWork"}


def test_an_event_that_there_is_not_is_refused_with_what_is_near(farm):
    farm.set(events="failedJbo")

    with pytest.raises(SettingsError, match=r"qube\.events: qube has no event 'failedJbo'; did you mean failedJob"):
        farm.registrar.plan()


def test_what_is_asked_for_at_a_risk_is_said(farm):
    farm.set(events="default doneJob failedWork killedWork")

    notes = "\n".join(farm.registrar.plan().notes)

    assert "doneJob repeats completeJob, failedJob, killedJob" in notes
    assert "one record for each frame" in notes
    assert "killed-work-self-*: it is not confirmed that Qube has" in notes


@pytest.mark.parametrize("place", [{"spool": "relative"}, {"spool": "/sp\u00fcl"}, {"log": "/a\nb"}, {"node": "No de"}])
def test_what_cannot_be_written_in_a_file_is_refused(place, tmp_path):
    with pytest.raises(SettingsError):
        script(TRIGGERS[0], Place(**({"spool": "/spool"} | place)))


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda each: each.event)
def test_every_file_is_plain_and_whole(trigger, tmp_path):
    text = script(trigger, Place(tmp_path / 'it\'s a "spool" @NODE@')).decode("ascii")

    compile(text, trigger.file, "exec")
    assert f"EVENT, SPOOL, NODE = '{trigger.event}', " in text
    for word in ("subprocess", "os.system", "os.fork", "AF_INET", "import threading", "urllib", "sleep"):
        assert word not in text


def test_nothing_in_a_file_needs_another_python_than_2_7_or_3_6(tmp_path):
    file = tmp_path / "callback.py"
    file.write_bytes(script(TRIGGERS[0], Place(tmp_path)))
    command = [sys.executable, "-c", "import vermin; vermin.main()", "--no-tips", "-t=2.7-", "-t=3.6-", "--violations"]

    ended = subprocess.run([*command, str(file)], capture_output=True, check=False, timeout=240, text=True)

    assert ended.returncode == 0, ended.stdout


def is_good(status: Status) -> bool:
    """Say whether all files are as wanted and there are no problems."""
    return not status.problems and all(each.verdict == "good" for each in status.standings)


def test_a_plan_writes_files_first_and_their_lines_last_and_then_nothing_is_left_to_do(farm):
    plan = farm.registrar.plan()

    assert [each.file for each in plan.steps] == [*DEFAULTS, conf.FILE]
    assert farm.apply() == [*DEFAULTS, conf.FILE]
    assert farm.registrar.plan().steps == ()
    assert farm.registrar.plan().notes == ()
    assert is_good(farm.registrar.status())


def test_applying_says_what_the_supervisor_still_needs(farm):
    notes = "\n".join(farm.registrar.plan().notes)

    for said in ("(125)", "qube,python,post,mail,dependency,auto_wrangling", "restart", "get the new callbacks"):
        assert said in notes


def test_others_lines_and_files_stay_byte_for_byte_and_come_back_whole(farm):
    farm.conf.write_bytes(FOREIGN)
    farm.conf.chmod(0o640)
    (farm.callbacks / "logFailuresToDB.py").write_bytes(b"pass")
    before = farm.there()

    farm.apply()
    there = farm.there()
    farm.remove()

    assert there[conf.FILE].startswith(FOREIGN)
    assert b"\nclusterbus_failed_job.py = failed-job-self\n" in there[conf.FILE]
    assert farm.there() == before
    assert farm.conf.stat().st_mode & 0o777 == 0o640


def test_removing_takes_the_lines_away_first_and_leaves_nothing(farm):
    farm.apply()

    assert farm.remove() == [conf.FILE, *sorted(DEFAULTS)]
    assert farm.there() == {}
    assert farm.registrar.removal().steps == ()


def test_what_is_not_wanted_any_more_goes_after_its_line(applied):
    applied.set(without="failedJob")

    assert applied.apply() == [conf.FILE, FAILED]
    assert applied.conf.read_bytes().startswith(FOREIGN)


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        (lambda farm: (farm.callbacks / FAILED).write_bytes(b"pass"), "its content differs"),
        (lambda farm: (farm.callbacks / FAILED).chmod(0o666), "its mode is 0666, not 0644"),
        (lambda farm: (farm.callbacks / FAILED).unlink(), "it does not exist"),
        (lambda farm: _link(farm.callbacks / FAILED, "other.py"), "it is a link to other.py"),
    ],
)
def test_drift_in_a_file_is_found_and_mended_and_nothing_else_touched(applied, drift, said):
    before = applied.there()
    drift(applied)

    (found,) = [each for each in applied.registrar.status().standings if each.verdict != "good"]
    assert (found.file, found.differences) == (FAILED, (said,))
    assert applied.apply() == [FAILED]
    assert applied.there() == before
    assert is_good(applied.registrar.status())


def _link(path, target):
    path.unlink()
    path.symlink_to(target)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_that_belongs_to_another_is_drift(applied):
    os.chown(applied.callbacks / FAILED, 12345, -1)

    assert applied.apply() == [FAILED]
    assert (applied.callbacks / FAILED).stat().st_uid == os.geteuid()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"clusterbus_failed_job.py = failed-job-self\n", b"", f"it lacks {FAILED}"),
        (
            b"failed_job.py = failed-job-self",
            b"failed_job.py = failed-job-7",
            f"it has a different trigger for {FAILED}",
        ),
        (b"# clusterbus end", b"clusterbus_x.py = y\n# clusterbus end", "it still has clusterbus_x.py"),
        (b"# clusterbus end", b"# a remark\n# clusterbus end", "our lines in it were changed"),
    ],
)
def test_drift_in_our_lines_is_found_and_mended(applied, old, new, said):
    before = applied.conf.read_bytes()
    applied.conf.write_bytes(before.replace(old, new))

    (found,) = [each for each in applied.registrar.status().standings if each.verdict != "good"]
    assert (found.file, found.differences) == (conf.FILE, (said,))
    assert applied.apply() == [conf.FILE]
    assert applied.conf.read_bytes() == before


def test_lines_that_others_add_meanwhile_stay_where_they_are(applied):
    applied.conf.write_bytes(b"first.py = submit-job-self\n" + applied.conf.read_bytes() + b"last.py = done-job-self\n")

    applied.remove()

    assert applied.conf.read_bytes() == b"first.py = submit-job-self\n" + FOREIGN + b"\nlast.py = done-job-self\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"# clusterbus end\n", "lines 1"),
        (b"x\n# clusterbus end\n# clusterbus begin: from here to the end written by `clusterbus callbacks`\n", "2, 3"),
        (
            b"a.py = b\n\tclusterbus_failed_job.py=failed-job-self\n",
            "line 2, outside our marks, maps our file clusterbus_failed_job.py",
        ),
    ],
)
def test_lines_that_cannot_be_told_from_the_others_are_refused(farm, text, said):
    farm.conf.write_bytes(text)

    with pytest.raises(ConfDamaged, match=said):
        farm.registrar.plan()
    assert farm.there() == {conf.FILE: text}


@given(st.binary(max_size=60), st.sets(st.sampled_from(TRIGGERS)), st.sets(st.sampled_from(TRIGGERS), min_size=1))
def test_whatever_is_in_callbacks_conf_comes_back_as_it_was(text, first, then):
    assume(b"# clusterbus" not in text)  # our own marks are refused: see above
    once = conf.merged(text, sorted(first, key=str))
    twice = conf.merged(once, sorted(then, key=str))

    assert conf.mapped(twice) == {each.file: each.expression for each in then}
    assert conf.merged(twice, sorted(then, key=str)) == twice
    assert conf.merged(twice, []) == text


def test_a_file_that_has_our_name_and_is_not_ours_stays(farm):
    (farm.callbacks / "clusterbus_of_the_site.py").write_bytes(b"pass")

    farm.apply()
    notes = farm.registrar.plan().notes
    farm.remove()

    assert "clusterbus_of_the_site.py has a name like ours, but is not ours" in notes[0]
    assert farm.there() == {"clusterbus_of_the_site.py": b"pass"}


@pytest.mark.parametrize("name", [FAILED, conf.FILE])
def test_a_link_out_of_the_folder_is_refused(applied, tmp_path, name):
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    _link(applied.callbacks / name, tmp_path / "elsewhere")

    with pytest.raises(Unsafe, match="link"):
        applied.registrar.plan()
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


def test_a_folder_or_a_conf_that_others_may_write_is_refused(applied):
    applied.conf.chmod(0o666)
    with pytest.raises(Unsafe, match="mode 0666"):
        applied.registrar.plan()

    applied.callbacks.chmod(0o777)
    with pytest.raises(Unsafe, match="mode 0777"):
        applied.registrar.status()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_folder_of_somebody_unknown_is_refused_unless_the_supervisor_is_that(farm):
    os.chown(farm.callbacks, 65534, -1)

    with pytest.raises(Unsafe, match="belongs to user 65534"):
        farm.registrar.plan()
    farm.set(owner="nobody")
    farm.apply()
    assert (farm.callbacks / FAILED).stat().st_uid == 65534


def test_without_a_folder_or_such_an_owner_it_says_what_to_do(farm, tmp_path):
    farm.set(owner="no-such-user")
    with pytest.raises(SettingsError, match=r"qube\.owner"):
        farm.registrar.plan()

    farm.set(callbacks=tmp_path / "nowhere")
    with pytest.raises(FolderMissing, match=r"qube\.callbacks"):
        farm.registrar.plan()


def test_a_plan_that_is_old_is_refused(applied):
    applied.set(without="failedJob")
    plan = applied.registrar.plan()
    applied.conf.write_bytes(b"new.py = done-job-self\n" + applied.conf.read_bytes())
    before = applied.there()

    with pytest.raises(Changed):
        applied.registrar.apply(plan)
    assert applied.there() == before


def test_two_applies_do_not_mix(farm):
    plan = farm.registrar.plan()

    with Folder(farm.callbacks).locked(), pytest.raises(Changed, match="another apply"):
        farm.registrar.apply(plan)


def test_each_step_is_told_before_it_is_done(farm):
    told = []

    farm.registrar.apply(farm.registrar.plan(), lambda step: told.append((step.file, farm.conf.exists())))

    assert told == [(each, False) for each in [*DEFAULTS, conf.FILE]]


# Kills itself where one more file is written but not renamed.
KILLED = """
import os, pathlib, signal, sys
from router.model.catalogue import load
from router.settings.models import QubeSettings
from router.cluster.callbacks.qube.registrar import QubeRegistrar
left, real = int(sys.argv[1]), os.rename
def rename(*arguments, **options):
    global left
    left or os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    real(*arguments, **options)
os.rename = rename
registrar = QubeRegistrar(QubeSettings.model_validate_json(sys.argv[2]), load("qube"), pathlib.Path(sys.argv[3]))
registrar.apply(registrar.plan())
"""


@pytest.mark.parametrize("after", [0, 3, 7])
def test_wherever_an_apply_is_killed_the_next_one_finishes_the_job(farm, after):
    words = [str(after), farm.settings.model_dump_json(), str(farm.spool)]
    ended = subprocess.run([sys.executable, "-c", KILLED, *words], timeout=240, check=False)
    assert ended.returncode == -signal.SIGKILL
    _check_mapped_files_are_there(farm)
    assert farm.registrar.status().problems

    farm.apply()

    assert is_good(farm.registrar.status())
    assert sorted(farm.there()) == sorted([*DEFAULTS, conf.FILE])


def _check_mapped_files_are_there(farm):
    text = farm.conf.read_bytes() if farm.conf.exists() else b""
    assert all((farm.callbacks / each).exists() for each in conf.mapped(text))


def test_what_a_kill_left_is_told_and_taken_away(applied):
    (applied.callbacks / f"{LEFTOVER}{FAILED}").write_bytes(b"half")

    assert applied.registrar.status().problems == (
        f"{LEFTOVER}{FAILED} is left over from a killed apply: run apply again",
    )
    assert applied.apply() == [f"{LEFTOVER}{FAILED}"]
    assert is_good(applied.registrar.status())


def test_a_folder_in_the_place_of_a_file_ends_the_apply_with_its_name(applied):
    (applied.callbacks / FAILED).unlink()
    (applied.callbacks / FAILED).mkdir()

    with pytest.raises(NotWritten, match=FAILED):
        applied.apply()
    assert not [each for each in applied.callbacks.iterdir() if each.name.startswith(LEFTOVER)]


def test_status_says_where_records_would_have_no_place(applied):
    applied.spool.joinpath("new").rmdir()
    assert "new: No such file" in applied.registrar.status().problems[0]

    applied.spool.chmod(0o777)
    assert "must not be writable by everyone" in applied.registrar.status().problems[0]
    assert not is_good(applied.registrar.status())


def test_show_says_what_is_registered(applied):
    shown = [each.as_dict() for each in applied.registrar.show()]

    assert [each["file"] for each in shown] == DEFAULTS
    assert shown[4] == {"file": FAILED, "trigger": "failed-job-self", "event": "failedJob"}


def test_steps_are_for_people_and_for_programs(farm):
    steps = farm.registrar.plan().steps

    assert steps[4].describe() == f"write {FAILED}\n    because it does not exist"
    assert steps[4].as_dict()["content"].startswith("# -*- coding: us-ascii -*-\n")
    assert all(issubclass(each, QubeError) for each in (Changed, ConfDamaged, FolderMissing, NotWritten, Unsafe))
    assert all(one.file != other.file for one, other in pairwise(steps))
