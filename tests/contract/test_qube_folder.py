"""A folder of Qube's universal callbacks, taken as it is: `callbacks.conf`, programs in Python and Perl, and `.qcb`."""

import threading
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.config.event_samples import Kinds
from consumers.config.registrations import Registrations
from consumers.deliveries import DeadLetter, Done, Retry
from consumers.policies.retry import attempt
from consumers.subscriptions import validation
from consumers.subscriptions.actions.action_use import unguarded
from consumers.verbs.interface import Surroundings
from consumers.verbs.scripts import qcb_file, qube_conf
from consumers.verbs.scripts.folders import remarks
from consumers.verbs.scripts.verb import ScriptsVerb
from router.model.catalogue import Catalogues
from router.settings.models import Settings
from tests.consuming import QUICK, make_delivery, make_event

SHIPPED = Catalogues.shipped()
EVENTS = {each.name for each in SHIPPED.of("qube").events.values()}

# The example of Qube's own page.
CONF = """\
#
# callbacks.conf
#
# syntax of this file is :
# filename = triggers
#
logFailuresToDB.py = failed-job-self
mail-status.qcb = done-job-self
checkWork.pl = done-work-self-*
submitted.py = submit-job-self
clusterbus_failed_job.py = failed-job-self
"""
ACTIONS = """\
version: 1
actions:
  - name: mail-status
    purpose: Tell what became of a job.
    class: look
    parameters:
      job: {type: integer, from: data.id}
      note: {type: text, default: none}
    run: {command: [/bin/echo, "job {{ parameters.job }}", "{{ parameters.note }}"]}
  - name: fails
    purpose: Fail.
    class: look
    run: {command: [/bin/sh, -c, "exit 3"]}
  - name: wipe
    purpose: Wipe.
    class: destroy
    run: {command: [/bin/echo, wiped]}
  - name: asks
    purpose: Ask.
    class: look
    run: {command: [/bin/echo, asked]}
    guard: {ask: {}}
  - name: job
    purpose: Work for long.
    class: look
    run: {command: [/bin/echo, worked], detach: true}
  - name: first
    purpose: Work on one node first.
    class: change
    run: {command: [/bin/echo, worked], nodes: "n[1-3]"}
    guard: {first: 1}
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "callback"
    folder.mkdir(mode=0o755)
    (folder / "callbacks.conf").write_text(CONF)
    (folder / "logFailuresToDB.py").write_text("print('logged')")
    (folder / "mail-status.qcb").write_text("# what to do\nmail-status\n")
    (folder / "checkWork.pl").write_text("print 'checked';")
    (folder / "submitted.py").write_text("print('submitted')")
    (folder / "clusterbus_failed_job.py").write_text("raise SystemExit('it must run in the supervisor only')")
    return folder


@pytest.fixture
def run(folder, tmp_path):
    """Give a function that serves the folder for one event of Qube, and returns the outcome."""
    (tmp_path / "actions.yaml").write_text(ACTIONS)
    settings = Settings.model_validate({"consumers": {"actions": [str(tmp_path / "actions.yaml")]}})

    def run(event, earlier=None, **data):
        catalogue = SHIPPED.of("qube")
        kind = catalogue.get(event)
        made = make_event(type=kind.type, source="/qube/farm/super", category=kind.category, data={"id": 19294, **data})
        surroundings = Surroundings("a", threading.Event(), settings, action=partial(unguarded, settings))
        handler = ScriptsVerb(folders=(folder,)).handler(surroundings)
        run.plan = handler.plan(make_delivery(made))
        return attempt(make_delivery(made, earlier=earlier or {}), handler, QUICK)

    return run


@pytest.mark.parametrize(
    ("event", "name", "said"),
    [
        ("failedJob", "logFailuresToDB.py", "logged"),
        ("doneWork", "checkWork.pl", "checked"),
        ("submitJob", "submitted.py", "submitted"),
    ],
)
def test_one_of_each_kind_fires(run, event, name, said):
    """Row 55 of the seeds."""
    outcome = run(event)

    assert isinstance(outcome, Done)
    assert outcome.result["matched"] == [name]
    assert said in outcome.result["handlers"][name]["output"]


def test_a_qcb_file_runs_the_actions_that_it_names(run, folder):
    """Row 55 of the seeds: a declarative action file."""
    (folder / "mail-status.qcb").write_text('mail-status\nmail-status note="$(id); done"\n')

    outcome = run("doneJob")

    done = outcome.result["handlers"]["mail-status.qcb"]
    assert isinstance(outcome, Done)
    assert [each["output"][0]["text"] for each in done["actions"]] == ["job 19294 none\n", "job 19294 $(id); done\n"]
    assert run.plan["scripts"][0]["actions"][0]["command"] == ["/bin/echo", "job 19294", "none"]


def test_a_list_of_actions_stops_at_the_first_that_fails(run, folder):
    (folder / "mail-status.qcb").write_text("mail-status\nfails\nmail-status\n")

    outcome = run("doneJob")

    failed = outcome.result["handlers"]["mail-status.qcb"]
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("mail-status.qcb: fails: ")
    assert [each["name"] for each in failed["actions"]] == ["mail-status", "fails"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mail-statsu\n", "there is no action mail-statsu"),
        ("wipe\n", "the action wipe destroys or asks people: write a subscription"),
        ("mail-status\nasks\n", "the action asks destroys or asks people: write a subscription"),
        ("first\n", "the action first has the guard first: write a subscription"),
        ("job\n", "the action job runs as a job: write a subscription"),
        ("mail-status nots=x\n", "has no parameter nots; did you mean note?"),
        ("mail-status job=-1\n", "'-1'"),
        ("mail-status x\n", "'x' is not NAME=VALUE"),
        ("# nothing\n", "names no action"),
        ('mail-status note="\n', "No closing quotation"),
    ],
)
def test_a_qcb_file_that_cannot_run_is_refused_and_none_of_its_actions_runs(run, folder, text, reason):
    (folder / "mail-status.qcb").write_text(text)

    outcome = run("doneJob")

    assert isinstance(outcome, DeadLetter)
    assert reason.strip("'") in outcome.reason
    assert "actions" not in outcome.result["handlers"]["mail-status.qcb"]
    assert "refused" in run.plan["scripts"][0] or "job=-1" in text


def test_a_qcb_file_that_others_can_write_is_refused(run, folder):
    (folder / "mail-status.qcb").chmod(0o666)

    assert "writable by other users" in run("doneJob").reason


def test_a_folder_as_qube_has_it_has_no_mistakes(folder):
    kinds = Kinds(Registrations(SHIPPED))

    found = [*remarks((folder,), kinds)]

    assert [each.message for each in found if each.fault or not each.warning] == []


@pytest.mark.parametrize("text", ["mail-status\nmail-statsu\n", "first\n"])
def test_a_check_tells_which_action_of_a_qcb_file_cannot_run(folder, tmp_path, text):
    (folder / "mail-status.qcb").write_text(text)
    (tmp_path / "actions.yaml").write_text(ACTIONS)
    (tmp_path / "s.yaml").write_text(
        f"version: 1\nsubscriptions: [{{name: qube, on: qube, scripts: {{folders: ['{folder}']}}}}]\n"
    )
    settings = Settings.model_validate({"consumers": {"actions": [str(tmp_path / "actions.yaml")]}})

    found = validation.check([tmp_path / "s.yaml"], SHIPPED, settings)

    (told,) = [str(each) for each in found.faults if ".qcb" in str(each)]
    assert f"{folder}/callbacks.conf:8: {folder}/mail-status.qcb: the" in told
    assert "there is no action mail-statsu" in told or "the action first has the guard first" in told


def test_our_own_map_wins_where_both_are_there(run, folder):
    (folder / "handlers.conf").write_text("submitted.py = failedJob\n")

    assert run("failedJob").result["matched"] == ["submitted.py"]


@pytest.mark.parametrize(
    ("line", "patterns"),
    [
        ("a.py = failed-job-self", ("qube.*.*.failedJob.#",)),
        ("a.py = failed-job-self || killed-job-self", ("qube.*.*.failedJob.#", "qube.*.*.killedJob.#")),
        ("a.py = failed-job-self, killed-job-self", ("qube.*.*.failedJob.#", "qube.*.*.killedJob.#")),
        ("a.py = timeout-work-self-*", ("qube.*.*.timeoutWork.#",)),
        ("a.py = complete-subjob-self-*", ("qube.*.*.completeSubjob.#",)),
    ],
)
def test_a_trigger_is_the_event_that_is_captured_for_it(line, patterns):
    (found,), wrong = qube_conf.parse(line.encode(), EVENTS)

    assert (found.patterns, list(wrong)) == (patterns, [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.py = running-job-19294", "is no trigger of a job itself"),
        ("a.py = globaltime-10000", "is no trigger of a job itself"),
        ("a.py = complete-work-self-5", "is no trigger of a job itself"),
        ("a.py = modified-subjob-self", "clusterbus captures no modifiedSubjob"),
        ("a.py = done-job-self && done-job-other", "&& waits for two events"),
        ("a.py failed-job-self", "is not `file = trigger`"),
        ("../a.py = failed-job-self", "is outside the folder"),
        ("a.py =", "is no trigger of a job itself"),
    ],
)
def test_a_trigger_without_an_event_is_told_with_its_line(line, message):
    found, (wrong,) = qube_conf.parse(f"# first\n{line}\n".encode(), EVENTS)

    assert (list(found), wrong.number) == ([], 2)
    assert message in wrong.message


@given(st.binary(max_size=300))
def test_no_conf_and_no_qcb_file_is_too_strange_to_be_read(content):
    lines, _ = qube_conf.parse(content, EVENTS)
    assert all("/" not in each.name and each.patterns for each in lines)
    try:
        assert qcb_file.parse(content)
    except qcb_file.Unreadable as error:
        assert str(error)  # noqa: PT017 - either is right
