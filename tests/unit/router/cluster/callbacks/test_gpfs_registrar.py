"""The registrar on a simulated cluster: what it leaves is what is wanted, wherever it is broken off."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from router.cluster.callbacks.gpfs.refusals import Memory
from router.cluster.callbacks.gpfs.registrar import Registrar
from router.cluster.gpfs.commands import Commands
from router.cluster.gpfs.errors import CommandFailed, NotReady
from router.cluster.nodes import capture_script
from router.errors import SettingsError, StateError
from router.model.catalogue import load
from router.settings.models import CallbackOptions, GpfsSettings
from router.simulator.install import install_capture
from router.simulator.simulated_cluster import Cluster
from shim import capture
from tests.mm_commands import answering

GPFS = load("gpfs")
FOREIGN = [
    "site-audit",
    "--command",
    "/usr/libexec/clusterbus/capture-gpfs",
    "--event",
    "mount,startup",
    "--parms",
    "a  %fsName",
]


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


class Gpfs:
    """The simulated cluster's commands, as a release that lacks some events, and a power that fails."""

    def __init__(self, cluster):
        self.answer, self.lacks, self.dies_after, self.changes = answering(cluster), set(), None, []
        self.mixes, self.slow, self.tried = True, False, []

    def __call__(self, words):
        if words[0].startswith("mmls"):
            return self.answer(words)
        if len(self.changes) == self.dies_after:
            raise Killed
        self.tried.append(words)
        if self.slow:
            raise CommandFailed(words, None, "")
        if words[0] == "mmaddcallback":
            events = words[words.index("--event") + 1].split(",")
            if found := self.lacks.intersection(events):
                raise CommandFailed(words, 1, f"mmaddcallback: there is no event {min(found)}")
            if not self.mixes and len(events) > 1:
                raise CommandFailed(words, 1, "mmaddcallback: one event at a time")
        answer = self.answer(words)
        self.changes.append(list(words))
        return answer

    def events(self):
        """Return the events that are captured now."""
        listed = self.answer(["mmlscallback"]).splitlines()
        return {name for line in listed if "event  " in line for name in line.partition("= ")[2].split(",")}

    def text_of(self, identifier):
        return self.answer(["mmlscallback", identifier])


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster.create(tmp_path / "cluster", nodes=4)
    install_capture(cluster)
    return cluster


@pytest.fixture
def gpfs(cluster):
    return Gpfs(cluster)


@pytest.fixture
def settings(tmp_path):
    return GpfsSettings(memory=tmp_path / "memory" / "gpfs.json")


@pytest.fixture
def registrar(gpfs, settings):
    def make(lacks=None, *, dry_run=False, **changes):
        wanted = settings.model_copy(update=changes)
        return Registrar(Commands(gpfs, dry_run=dry_run), wanted, GPFS, lacks)

    return make


def default_events():
    return {each.name for each in GPFS.events.values() if each.default}


def test_plan_apply_plan_again_is_empty_and_all_default_events_are_captured(registrar, gpfs):
    found = registrar().plan()

    applied = registrar().apply(found)

    assert applied.good
    assert applied.done == found.steps
    assert registrar().plan().steps == ()
    assert gpfs.events() == default_events()


DRIFTS = {
    "command": ("--command", "/usr/libexec/clusterbus/capture.py"),
    "event": ("--event", "softQuotaExceeded"),
    "priority": ("--priority", "3"),
    "node": ("-N", "nsd01"),
    "parms": ("--parms", "%eventName"),
    "sync": ("--sync", None),
    "timeout": ("--sync", None, "--timeout", "20"),
    "onerror": ("--sync", None, "--onerror", "shutdown"),
}


@pytest.mark.parametrize("field", DRIFTS)
def test_each_field_changed_by_hand_is_found_and_mended_and_nothing_else_is_touched(registrar, gpfs, field):
    gpfs.answer(["mmaddcallback", *FOREIGN])
    registrar().apply()
    others = gpfs.text_of("clusterbus-disk"), gpfs.text_of("site-audit")
    words = next(each for each in gpfs.changes if each[1] == "clusterbus-quota")
    gpfs.answer(["mmdelcallback", "clusterbus-quota"])
    gpfs.answer(changed(words, DRIFTS[field]))
    gpfs.changes.clear()

    applied = registrar().apply()

    assert applied.good
    assert [each[:2] for each in gpfs.changes] == [
        ["mmaddcallback", "clusterbus-quota-2"],
        ["mmdelcallback", "clusterbus-quota"],
    ]
    assert registrar().plan().steps == ()
    assert (gpfs.text_of("clusterbus-disk"), gpfs.text_of("site-audit")) == others


def changed(words, drift):
    words = list(words)
    for option, value in zip(drift[::2], drift[1::2], strict=True):
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option] if value is None else [option, value]
    return words


@pytest.mark.parametrize("after", range(5))
def test_killed_after_any_command_the_next_apply_finishes_and_no_event_was_uncovered(registrar, gpfs, settings, after):
    registrar(events=("disk", "quota")).apply()
    gpfs.changes.clear()
    gpfs.dies_after = after
    wanted = {"events": ("disk", "quota"), "parameters": {"*": ("upNodes",)}}

    if after < 4:
        with pytest.raises(Killed):
            registrar(**wanted).apply()
    else:
        registrar(**wanted).apply()
    covered = gpfs.events()
    gpfs.dies_after = None
    applied = registrar(**wanted).apply()

    assert covered == {"diskFailure", "softQuotaExceeded", "usageUnderSoftQuota"}
    assert applied.good
    assert registrar(**wanted).plan().steps == ()
    assert len(registrar().registered()) == 2


def test_a_group_that_is_refused_is_registered_event_by_event_and_what_the_release_lacks_is_named(registrar, gpfs):
    gpfs.lacks = {"afmRPOMiss", "afmQueueDropped"}

    applied = registrar().apply()

    assert applied.good
    assert set(applied.lacking) == gpfs.lacks
    assert gpfs.events() == default_events() - gpfs.lacks
    assert registrar().plan().steps == ()
    assert {each.part for each in registrar().standings() if each.verdict == "warning"} == gpfs.lacks


def test_what_a_newer_release_has_is_found_by_trying_again(registrar, gpfs):
    gpfs.lacks = {"afmRPOMiss"}
    registrar().apply()
    gpfs.lacks = set()

    later = registrar()
    later.try_again()
    applied = later.apply()

    assert applied.good
    assert gpfs.events() == default_events()
    assert sum(each.identifier.startswith("clusterbus-afm") for each in registrar().registered()) == 1


def test_a_release_that_takes_single_events_only_gets_them(registrar, gpfs):
    gpfs.mixes = False

    applied = registrar().apply()

    assert (applied.good, applied.lacking) == (True, {})
    assert gpfs.events() == default_events()
    assert registrar().plan().steps == ()


def test_killed_while_it_falls_back_the_next_apply_finishes(registrar, gpfs):
    gpfs.lacks = {"noDiskSpace"}
    gpfs.dies_after = 1
    with pytest.raises(Killed):
        registrar(events=("space", "disk")).apply()
    gpfs.dies_after = None

    applied = registrar(events=("space", "disk")).apply()

    assert applied.good
    assert gpfs.events() == {"lowDiskSpace", "diskFailure"}
    assert registrar(events=("space", "disk")).plan().steps == ()


def test_where_nothing_is_taken_the_old_one_stays_and_what_gpfs_said_is_told(registrar, gpfs):
    registrar(events=("quota",)).apply()
    gpfs.lacks = {"softQuotaExceeded", "usageUnderSoftQuota"}

    applied = registrar(events=("quota",), parameters={"quota": ("upNodes",)}).apply()

    assert not applied.good
    assert "there is no event" in "".join(applied.problems)
    assert gpfs.events() == {"softQuotaExceeded", "usageUnderSoftQuota"}


def test_a_family_of_which_nothing_is_there_is_lacking_and_the_rest_is_as_wanted(registrar, gpfs):
    gpfs.lacks = {"diskFailure", "softQuotaExceeded", "usageUnderSoftQuota"}
    gpfs.answer(["mmaddcallback", "clusterbus-old", *FOREIGN[1:]])

    applied = registrar().apply()

    assert applied.good
    assert set(applied.lacking) == gpfs.lacks
    assert gpfs.events() == default_events() - gpfs.lacks
    assert registrar().plan().steps == ()


def test_an_event_that_is_asked_for_later_of_a_split_family_is_found_lacking_too(registrar, gpfs):
    gpfs.lacks = {"afmRPOMiss", "afmCmdRequeued"}
    registrar().apply()

    asked = registrar().ask_for("one", ["afmCmdRequeued"])
    again = registrar().ask_for("two", ["afmCmdRequeued"])

    assert "afmCmdRequeued" in asked.lacking
    assert "afmCmdRequeued" in again.lacking
    assert registrar().plan().steps == ()


def test_a_command_that_is_not_through_in_time_says_nothing_of_events(registrar, gpfs):
    gpfs.slow = True

    applied = registrar(events=("quota",)).apply()

    assert len(gpfs.tried) == 1
    assert "did not finish in time" in "".join(applied.problems)
    gpfs.slow = False
    assert registrar(events=("quota",)).apply().good
    assert [each.identifier for each in registrar().registered()] == ["clusterbus-quota"]


def test_an_event_that_is_captured_already_is_not_given_up_for_a_refusal(registrar, gpfs):
    registrar(events=("quota",)).apply()
    before = gpfs.text_of("clusterbus-quota")
    gpfs.lacks = {"usageUnderSoftQuota"}
    changed = {"events": ("quota",), "parameters": {"quota": ("upNodes",)}}

    applied = registrar(**changed).apply()

    assert not applied.good
    assert gpfs.text_of("clusterbus-quota") == before
    assert len(registrar().registered()) == 1
    gpfs.lacks = set()
    assert registrar(**changed).apply().good
    assert gpfs.events() == {"softQuotaExceeded", "usageUnderSoftQuota"}


def test_what_was_refused_is_remembered_until_it_is_really_tried_again(registrar, gpfs, settings):
    gpfs.lacks = {"afmRPOMiss"}
    registrar().apply()
    before = settings.memory.read_bytes()
    looked = registrar()

    looked.try_again()

    assert looked.plan().steps != ()
    assert settings.memory.read_bytes() == before


def test_nothing_is_registered_while_a_node_lacks_the_shim(registrar, gpfs):
    asked = []

    def lacks(names):
        asked.extend(names)
        return {"cl01": "has another capture.py"}

    with pytest.raises(NotReady, match=r"cl01: has another capture\.py"):
        registrar(lacks).apply()

    assert gpfs.changes == []
    assert len(asked) == 4


def test_a_plan_that_is_out_of_date_is_not_applied(registrar, gpfs):
    found = registrar().plan()
    gpfs.answer(["mmaddcallback", "clusterbus-disk", *FOREIGN[1:]])

    with pytest.raises(NotReady, match="changed since"):
        registrar().apply(found)

    assert gpfs.changes == []


def test_a_dry_run_records_what_a_real_one_runs(registrar, gpfs):
    dry = Commands(gpfs, dry_run=True)
    real = Commands(gpfs)

    Registrar(dry, registrar()._settings, GPFS).apply()
    assert gpfs.changes == []
    Registrar(real, registrar()._settings, GPFS).apply()

    assert dry.recorded == real.recorded
    assert len(real.recorded) == len(gpfs.changes)


def test_removal_takes_ours_and_leaves_others_as_they_are(registrar, gpfs):
    gpfs.answer(["mmaddcallback", *FOREIGN])
    before = gpfs.answer(["mmlscallback", "-Y"])
    registrar().apply()

    applied = registrar().remove(registrar().removal())

    assert applied.good
    assert gpfs.answer(["mmlscallback", "-Y"]) == before


def test_what_a_python_callback_asks_for_is_registered_until_it_lets_go(registrar, gpfs):
    registrar(events=("disk",)).apply()

    registrar(events=("disk",)).ask_for("one", ["mount", "ccrFileChange"])
    registrar(events=("disk",)).ask_for("two", ["Mount"])
    assert gpfs.events() == {"diskFailure", "mount", "ccrFileChange"}
    assert registrar(events=("disk",)).plan().steps == ()

    registrar(events=("disk",)).withdraw("one")
    assert gpfs.events() == {"diskFailure", "mount"}
    registrar(events=("disk",)).withdraw("two")
    assert gpfs.events() == {"diskFailure"}


def test_a_python_callback_does_not_bring_other_families_with_it(registrar, gpfs):
    applied = registrar().ask_for("one", ["shutdown"])

    assert applied.good
    assert gpfs.events() == {"preStartup", "startup", "preShutdown", "shutdown"}


def test_two_do_not_register_at_the_same_time(registrar, settings):
    with Memory(settings.memory).locked(), pytest.raises(StateError, match="another process is registering callbacks"):
        registrar().apply()


def test_a_memory_that_is_not_ours_is_named_with_its_field(registrar, settings):
    settings.memory.parent.mkdir()
    settings.memory.write_text(json.dumps({"version": 2}))

    with pytest.raises(StateError, match=r"gpfs\.json is not valid: version"):
        registrar().plan()


def test_all_mistakes_of_the_settings_are_told_at_once(registrar):
    wrong = {
        "events": ("default", "tiebreakerCheck", "diskFailed", "internal"),
        "without": ("%resaon",),
        "parameters": {"dsik": ("upNodes",), "disk": ("upNode",)},
        "options": {
            "disk": CallbackOptions(sync=True, onerror="shutdown"),
            "mount": CallbackOptions(onerror="continue"),
        },
    }

    with pytest.raises(SettingsError) as caught:
        registrar(**wrong).plan()

    assert len(str(caught.value).splitlines()) == 9
    for expected in (
        "becomes cluster manager",
        "did you mean diskFailure",
        "dsik",
        "upNode",
        "GPFS waits",
        "stop GPFS",
    ):
        assert expected in str(caught.value)


def test_gpfs_waits_longer_for_capture_than_capture_takes_at_the_most(registrar):
    shortest = {"accept": ("sync",), "options": {"disk": CallbackOptions(sync=True, timeout=capture_script.DEADLINE)}}
    longer = CallbackOptions(sync=True, timeout=capture_script.DEADLINE + timedelta(seconds=1))

    with pytest.raises(SettingsError, match="timeout must be longer than 5 s, which capture may take"):
        registrar(**shortest).plan()
    assert registrar(**{**shortest, "options": {"disk": longer}}).plan().steps != ()
    assert f'"--deadline": {capture_script.DEADLINE.total_seconds()}' in Path(capture.__file__).read_text()


def test_a_danger_that_is_accepted_is_registered(registrar, gpfs):
    settings = {
        "events": ("ccrFileChange", "disk"),
        "accept": ("ccrFileChange", "sync"),
        "options": {"disk": CallbackOptions(sync=True)},
        "without": ("%fsName",),
    }

    assert registrar(**settings).apply().good

    disk = next(each for each in registrar().registered() if each.identifier == "clusterbus-disk")
    assert (disk.sync, "%fsName" in disk.parms) == (True, False)
    assert "ccrFileChange" in gpfs.events()
