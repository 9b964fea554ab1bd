"""The verb `run` as it is written, node sets, and what a fan-out comes to."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from consumers.config.event_samples import Kinds
from consumers.config.registrations import Registrations
from consumers.errors import Rejected
from consumers.expressions.templates import OF_STEP
from consumers.policies.retry import RetryPolicy
from consumers.subscriptions.validation import check
from consumers.verbs.run import options
from consumers.verbs.run.node_outcomes import NodeRun, interrupted, lost, next_run, nothing_left, read, report
from consumers.verbs.run.node_targets import MOST, GroupsUnknown, fold, names_of, unfold
from consumers.verbs.run.step_options import Copied, Step
from consumers.verbs.run.verb import RunVerb
from router.model.catalogue import Catalogues
from router.settings.models import Settings

HOSTILE = [
    "; rm -rf /",
    "$(id)",
    "`id`",
    "-oProxyCommand=touch /tmp/x",
    "nsd01,-oProxyCommand=x",
    "@all",
    "nsd01,@all",
    "@*",
    "*",
    "n[1-9]!n3",
    "n[1-9]&n3",
    "n[1-9]^n3",
    "../../x",
    "{{ data }}",
    "nsd01\nnsd02",
    "nsd01 nsd02",
    "user@nsd01",
    "nsd01:22",
    "%h",
    "nsd01%host",
    "n[1",
    "n]1[",
    "n[1-]",
    "n[a-b]",
    "n[[1-2]]",
    "nsd\x00",
    "nsd01\u2028",
    "nsd-",
    "-",
    "x" * 300,
    "n[1-999999999]",
    "n[0-99][0-99][0-99]",
    "n[5-1]",
    "n[1-9/0]",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_name_of_a_host_is_refused(text):
    with pytest.raises(Rejected, match=r"^nodes: "):
        names_of(text)


@pytest.mark.parametrize("text", ["", " ", ",", ",,"])
def test_an_empty_node_set_is_an_error_and_not_this_machine(text):
    with pytest.raises(Rejected, match="the node set is empty"):
        names_of(text)


@pytest.mark.parametrize("text", ["n[1-3]!n[1-3]", "n1&n2"])
def test_a_node_set_that_comes_to_nothing_is_an_error(text):
    with pytest.raises(Rejected, match="empty node set"):
        names_of(text, is_ours=True)


@pytest.mark.parametrize("text", ["," * 65000, "a," * 30000, "[" * 65000, "a[1," * 16000, "[1-1]" * 12000])
def test_a_long_value_costs_little(text):
    with pytest.raises(Rejected):
        names_of(text)


def test_names_are_those_of_gpfs_lists_and_of_folded_sets():
    assert names_of("nsd01.example.com,nsd02.example.com,cl7") == ("cl7", "nsd01.example.com", "nsd02.example.com")
    assert len(names_of("n[001-400]")) == 400
    assert len(names_of(f"n[1-{MOST}]")) == MOST
    assert names_of("n[1-9]!n[3-9]", is_ours=True) == ("n1", "n2")


@given(st.sets(st.from_regex(r"[a-z][a-z0-9-]{0,5}[a-z0-9](\.[a-z0-9]{1,4}){0,2}", fullmatch=True), min_size=1))
def test_what_is_folded_can_be_read_again(names):
    assert set(names_of(fold(names))) == names == set(unfold(fold(names)))


def test_groups_are_looked_up_only_where_the_file_says_so(tmp_path, monkeypatch):
    (tmp_path / "groups.conf").write_text(f"[Main]\ndefault: local\n[local]\nmap: cat {tmp_path}/$GROUP\n")
    (tmp_path / "quorum").write_text("nsd[01-03]\n")
    monkeypatch.setenv("CLUSTERSHELL_CFGDIR", str(tmp_path))

    assert names_of("@quorum", is_ours=True) == ("nsd01", "nsd02", "nsd03")
    (tmp_path / "quorum").write_text("nsd[02-03]\n")
    assert names_of("@quorum,cl1", is_ours=True) == ("cl1", "nsd02", "nsd03")
    with pytest.raises(Rejected):
        names_of("@quorum")
    with pytest.raises(GroupsUnknown, match="cannot be looked up"):
        names_of("@none", is_ours=True)


def outcome(**fields):
    return {"codes": {}, "timed_out": "", "unfinished": "", "not_begun": "", "output": [], "seconds": 1.0, **fields}


@pytest.mark.parametrize(
    ("fields", "failure", "reason", "is_blamed"),
    [
        ({"codes": {"0": "nsd[01-04]"}}, None, "", False),
        ({"codes": {"0": "nsd[01-03]", "3": "nsd04"}}, "exit:3", "exit code 3 on nsd04", False),
        ({"codes": {"3": "nsd[01-04]"}}, "exit:3", "exit code 3 on nsd[01-04]", True),
        (
            {"codes": {"0": "nsd[01-02]", "1": "nsd03", "3": "nsd04"}},
            "exit",
            "exit code 1 on nsd03, exit code 3 on nsd04",
            False,
        ),
        (
            {"codes": {"0": "nsd01", "1": "nsd[02-03]"}, "timed_out": "nsd04"},
            "nodes",
            "exit code 1 on nsd[02-03], timed out on nsd04",
            True,
        ),
        ({"codes": {"0": "nsd[01-03]", "255": "nsd04"}}, "unreachable", "unreachable: nsd04", True),
        (
            {"codes": {"0": "nsd01"}, "unfinished": "nsd02", "not_begun": "nsd[03-04]", "deadline": True},
            "timeout",
            "not finished before the deadline on nsd02, not started before the deadline on nsd[03-04]",
            True,
        ),
        ({"codes": {"0": "nsd[01-03]"}}, "timeout", "not started before the deadline on nsd04", False),
        (
            {"codes": {"0": "nsd[01-02]", "255": "nsd[03-04]"}, "unreachable": "nsd04"},
            "nodes",
            "exit code 255 on nsd03, unreachable: nsd04",
            True,
        ),
        (
            {
                "codes": {"0": "nsd[01-03]", "255": "nsd04"},
                "unreachable": "",
                "refused": "nsd[03-04]",
                "refusals": [{"nodes": "nsd[03-04]", "reason": "no key fits"}],
            },
            "login",
            "login refused (no key fits): nsd[03-04]",
            True,
        ),
    ],
)
def test_what_a_fan_out_comes_to(fields, failure, reason, is_blamed):
    node_run = NodeRun(names_of("nsd[01-04]"), target="run x on nsd[01-04]")

    told = report(outcome(**fields), node_run)

    assert (told.failure, told.reason) == (failure, reason)
    assert list(told.blamed) == ([node_run.target] if is_blamed else [])
    assert {*unfold(told.result["nodes"]["succeeded"]), *unfold(told.result["nodes"]["failed"])} == set(node_run.todo)


def test_here_255_is_an_exit_code_like_others():
    assert report(outcome(codes={"255": "n1"}), NodeRun(["n1"], is_remote=False)).failure == "exit:255"


def test_a_retry_runs_on_what_failed_and_tells_of_all():
    names = names_of("n[1-5]")
    first = report(outcome(codes={"0": "n[1-2]", "1": "n[3-4]"}, timed_out="n5"), NodeRun(names))

    second = next_run(names, first.result, "", is_remote=True)
    told = report(outcome(codes={"0": "n[3,5]", "1": "n4"}), second)
    third = next_run(names, told.result, "", is_remote=True)
    last = report(outcome(codes={"0": "n4"}), third)

    assert fold(second.todo) == "n[3-5]"
    assert told.result["nodes"] == {"succeeded": "n[1-3,5]", "failed": "n4"}
    assert third.todo == ("n4",)
    assert last.failure is None
    assert last.result["nodes"] == {"succeeded": "n[1-5]", "failed": ""}
    assert last.result["exit"] == {"0": "n[1-5]"}


def test_row_114_results_are_folded_by_node_set_with_output_and_errors_apart():
    told = report(
        outcome(
            codes={"0": "n[1,3]", "1": "n2", "255": "dead1"},
            unreachable="dead1",
            timed_out="n4",
            remote_may_run="n4",
            output=[{"nodes": "n[1,3]", "text": "started\n", "octets": 8}],
            errors=[{"nodes": "n2", "text": "no\n", "octets": 3}],
        ),
        NodeRun(names_of("n[1-4],dead1")),
    )

    assert told.result == {
        "nodes": {"succeeded": "n[1,3]", "failed": "dead1,n[2,4]"},
        "exit": {"0": "n[1,3]", "1": "n2", "255": "dead1"},
        "timed_out": "n4",
        "unreachable": "dead1",
        "remote_may_run": "n4",
        "output": [{"nodes": "n[1,3]", "text": "started\n", "octets": 8}],
        "errors": [{"nodes": "n2", "text": "no\n", "octets": 3}],
        "seconds": 1.0,
    }


def test_the_outcome_of_a_fan_out_that_an_earlier_release_began_is_read_as_it_was_written():
    # Without refusals, errors of their own, and nodes that may still run it.
    told = report(outcome(codes={"0": "n1", "255": "n2"}), NodeRun(names_of("n[1-2]"), target="run x on n[1-2]"))

    assert (told.failure, told.reason) == ("unreachable", "unreachable: n2")
    assert told.result["exit"] == {"0": "n1", "255": "n2"}
    assert told.result["unreachable"] == "n2"


def test_an_attempt_on_other_nodes_says_nothing_about_these():
    # The subscription has been changed: its command ran on the consumer's machine before.
    assert next_run(["n1", "n2"], {"nodes": {"succeeded": "", "failed": "hub1"}}, "", is_remote=True).todo == (
        "n1",
        "n2",
    )


def test_nodes_that_joined_or_left_meanwhile_are_no_part_of_a_retry():
    earlier = {"nodes": {"succeeded": "n1", "failed": "n[2-3]"}}

    assert next_run(names_of("n[2,9]"), earlier, "", is_remote=True).todo == ("n2",)
    left = nothing_left(next_run(names_of("n[1,9]"), earlier, "", is_remote=True))
    assert (left.failure, left.result["nodes"]) == (None, {"succeeded": "n1", "failed": ""})


def test_a_fan_out_that_told_nothing_has_done_nothing():
    told = lost(NodeRun(["n2"], ["n1"]), "lost", "gone", b"x" * 9000)

    assert told.result["nodes"] == {"succeeded": "n1", "failed": "n2"}
    assert told.result["remote_may_run"] == "n2"
    assert len(told.result["said"]) == 2000
    assert [read(each) for each in (b"", b"warning\n", b"[1]\n", b"{}")] == [None] * 4


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fanout": 2}, "fanout applies only to commands on nodes"),
        ({"deadline": "1h"}, "deadline applies only to commands on nodes"),
        ({"nodes": "n1", "timeout": "10m", "deadline": "5m"}, r"deadline \(5m\) is shorter than timeout \(10m\)"),
        ({"nodes": "n1", "command": ["a=b"]}, "would read it as a variable"),
        ({"user": "-oProxyCommand=x"}, "is not a valid user name"),
        ({"nodes": "n1", "fanout": 0}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        RunVerb.model_validate({"command": ["x"], **fields})


def test_the_verb_comes_back_from_json_as_it_was():
    for fields in ({}, {"nodes": "n[1-3]", "deadline": "1h", "user": "operator"}, {"detach": True}):
        verb = RunVerb.model_validate({"command": ["x"], **fields})

        assert RunVerb.model_validate_json(verb.model_dump_json()) == verb


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ("-oProxyCommand=x", "is not a host name"),
        ("n[1-99999999]", "names more than 10,000 nodes"),
        ("@quorum,{{ node }}", "not allowed together with a template"),
        ("n1!{{ node }}", "not allowed together with a template"),
        ("n*,{{ node }}", "not allowed together with a template"),
    ],
)
def test_a_node_set_that_is_none_is_told_when_checked(nodes, words):
    kinds = Kinds(Registrations(Catalogues.shipped()))

    found = list(RunVerb(command=("x",), nodes=nodes).remarks(kinds, Settings()))

    assert [(each.place, each.warning) for each in found if words in each.message] == [(("nodes",), False)]


@pytest.mark.parametrize("failure", ["unreachable", "login", "nodes", "lost", "timeout", "exit:255"])
def test_a_policy_can_name_each_failure(failure):
    policy = RetryPolicy(never_for=(failure,))

    assert policy.delay_after(1, failure) is None
    assert policy.delay_after(1, "other") == timedelta(seconds=5)


def test_the_example_of_the_page_has_no_mistakes(tmp_path):
    page = Path(options.__file__).with_name("README.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "subscriptions.yaml").write_text(text)

    report = check([tmp_path / "subscriptions.yaml"], Catalogues.shipped())

    assert report.mistakes == report.faults == ()
    assert report.subscriptions is not None
    fields = {each for each in RunVerb.model_fields if f"| `{each}` |" in page}
    assert fields == set(RunVerb.model_fields)


def test_the_examples_of_the_page_of_steps_have_no_mistakes(tmp_path):
    page = (Path(options.__file__).parent / "steps" / "README.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)

    for at, text in enumerate(examples):
        (tmp_path / f"{at}.yaml").write_text(text)
        assert check([tmp_path / f"{at}.yaml"], Catalogues.shipped()).mistakes == (), text
    for model in (Step, Copied):
        assert {each.alias or name for name, each in model.model_fields.items()} <= set(re.findall(r"`(\w+)`", page))
    assert set(re.findall(r"`steps\.NAME\.(\w+)`", page)) == OF_STEP


COPY = {"from": "/srv/x", "to": "/etc/x"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"steps": []}, "missing"),
        ({"command": ["true"], "steps": [{"name": "a", "command": ["true"]}]}, "cannot be used with steps"),
        ({"command": ["true"], "always": [{"name": "a", "command": ["true"]}]}, "always applies only to steps"),
        ({"command": ["true"], "on_retry": "resume"}, "on_retry applies only to steps"),
        ({"steps": [{"name": "a", "command": ["true"]}], "nodes": "n1"}, "nodes belongs to each step"),
        ({"steps": [{"name": "a", "command": ["true"]}] * 2}, "two steps have the name a"),
        ({"steps": [{"name": "A b", "command": ["true"]}]}, "is not a name"),
        ({"steps": [{"name": "a"}]}, "needs either command or copy"),
        ({"steps": [{"name": "a", "command": ["{{ data.x }}"]}]}, "must not choose what runs"),
        ({"steps": [{"name": "a", "command": ["true"], "fanout": 2}]}, "fanout applies only to commands on nodes"),
        ({"steps": [{"name": "a", "command": ["true"], "copy": COPY, "nodes": "n1"}]}, "needs either command or copy"),
        ({"steps": [{"name": "a", "copy": COPY}]}, "to no nodes"),
        ({"steps": [{"name": "a", "copy": COPY, "nodes": "n1", "environment": {"A": "b"}}]}, "no environment"),
        (
            {"steps": [{"name": "a", "copy": {**COPY, "to": "/etc/{{ data.x }}"}, "nodes": "n1"}]},
            "absolute path of a file",
        ),
        ({"steps": [{"name": "a", "copy": {**COPY, "to": "/etc/"}, "nodes": "n1"}]}, "absolute path of a file"),
        ({"steps": [{"name": "a", "copy": {**COPY, "mode": "rw"}, "nodes": "n1"}]}, "is not a mode"),
        ({"steps": [{"name": "a", "copy": {**COPY, "owner": "-R"}, "nodes": "n1"}]}, "is not an owner"),
        ({"steps": [{"name": "a", "command": ["A=b"], "nodes": "n1"}]}, "contains ="),
    ],
)
def test_steps_that_cannot_be_meant_are_refused(fields, told):
    with pytest.raises(ValidationError, match=told):
        RunVerb.model_validate(fields)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("{{ steps.one.output }}", ""),
        ("{{ steps.two.output }}", "no step two comes before this; these do: one"),
        ("{{ steps.on.output }}", "did you mean one"),
        ("{{ steps.one.text }}", "steps.one has no text"),
        ("{{ steps }}", "steps must be read as steps.NAME.output"),
        ("{{ steps.one.output | int > 3 }}", ""),
        ("{{ data.none }}", "no variable"),
    ],
)
def test_what_a_step_reads_is_checked(tmp_path, word, told):
    steps = [{"name": "one", "command": ["echo"]}, {"name": "two", "command": ["echo", word]}]
    entry = {"name": "a", "on": "diskFailure", "run": {"steps": steps}}
    (tmp_path / "subscriptions.yaml").write_text(json.dumps({"version": 1, "subscriptions": [entry]}))

    found = [str(each) for each in check([tmp_path / "subscriptions.yaml"], Catalogues.shipped()).mistakes]

    assert len(found) == bool(told)
    assert all("run.steps.2.command.2: " in each and told in each for each in found), found


def test_no_other_template_reads_steps(tmp_path):
    entry = {"name": "a", "on": "diskFailure", "run": {"command": ["echo", "{{ steps.one.output }}"]}}
    (tmp_path / "subscriptions.yaml").write_text(json.dumps({"version": 1, "subscriptions": [entry]}))

    (mistake,) = check([tmp_path / "subscriptions.yaml"], Catalogues.shipped()).mistakes

    assert mistake.message == "no step comes before this: steps.one has no value here"


@pytest.mark.parametrize("detach", [False, True])
def test_a_folder_of_jobs_that_cannot_be_used_is_told_when_checked(tmp_path, detach):
    (tmp_path / "jobs").mkdir(mode=0o755)
    (tmp_path / "jobs").chmod(0o755)
    settings = Settings.model_validate({"consumers": {"jobs": tmp_path / "jobs"}})
    kinds = Kinds(Registrations(Catalogues.shipped()))

    (found,) = RunVerb(command=("/bin/true",), detach=detach).remarks_here(kinds, settings)

    # A job cannot run without it; another command runs unseen.
    assert (found.fault, found.warning) == (detach, not detach)
    assert found.message.startswith("commands cannot be watched and cancelled: ") == (not detach)


# Stops


def test_a_fan_out_that_a_stop_interrupts_keeps_the_nodes_that_were_done():
    outcome = {"codes": {"0": "n[1-3]", "1": "n4"}, "timed_out": "", "unfinished": "n5", "not_begun": "n6"}
    node_run = NodeRun(("n1", "n2", "n3", "n4", "n5", "n6"), ("n0",))

    kept = interrupted(outcome, node_run)

    assert kept is not None
    assert kept.again is not None
    assert next_run(["n0", *node_run.todo], kept.result, "", is_remote=True).todo == ("n4", "n5", "n6")
    assert interrupted({**outcome, "codes": {"1": "n4"}}, node_run) is None
    assert interrupted(None, node_run) is None


@pytest.mark.parametrize(("on", "advised"), [("runFailed", False), ("[quota, runFailed]", False), ("'#'", True)])
def test_what_selects_its_own_events_is_told_to_leave_them_out_if_it_is_a_pattern(tmp_path, on, advised):
    file = tmp_path / "subscriptions.yaml"
    file.write_text(f"version: 1\nsubscriptions: [{{name: it, on: {on}, run: {{command: [/bin/true]}}}}]\n")

    told = [each.message for each in check(file, Catalogues.shipped(), here=False).warnings]

    about = [each for each in told if "never receives those of its own commands" in each]
    assert ["write gpfs.#" in each for each in about] == [advised]


@pytest.mark.parametrize(
    ("nodes", "mistake", "warning"),
    [
        ("{{ data.eventNode | join(',') }}", "", ""),
        ("{{ node }}", "", ""),
        ("{{ data.eventNode | join(' ') }}", "for some events of nodeLeave: 'node7.example.org node7-2", ""),
        ("{{ data.eventNode | join(';') }}", "for some events of nodeLeave: 'node7.example.org;node7-2", ""),
        ("{{ node }}:22", "for nodeLeave: 'node1:22' is not a host name", ""),
        (
            "{{ data.clusterManager | default('') }}",
            "",
            "data.clusterManager may not apply, and then the node set is empty",
        ),
        ("{% if node == 'x' %}n1{% endif %}", "", "for nodeLeave: the node set is empty"),
        ("{{ data.eventNode[1] }}", "", "for some events of nodeLeave: "),
    ],
)
def test_what_a_template_becomes_is_read_as_a_node_set(tmp_path, nodes, mistake, warning):
    file = tmp_path / "subscriptions.yaml"
    file.write_text(
        "version: 1\nsubscriptions:\n"
        f'  - {{name: it, on: nodeLeave, run: {{command: [/bin/true], nodes: "{nodes}"}}}}\n'
    )

    report = check(file, Catalogues.shipped(), here=False)

    for found, words in ((report.mistakes, mistake), (report.warnings, warning)):
        about = [each.message for each in found if each.field == "run.nodes"]
        assert len(about) == bool(words)
        assert words in "".join(about)
