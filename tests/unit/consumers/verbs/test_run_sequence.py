"""Which step comes next: for every moment at which a process may die, and for every way in which a step may end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.errors import TemplateError
from consumers.verbs.run.steps.sequence import (
    CANCELLED,
    LATE,
    LOST,
    MOST_FINDS,
    STOPPED,
    Order,
    Progress,
    Turn,
    interrupted,
)
from consumers.verbs.run.steps.step_values import LONGEST, About, of_step, unusable

ORDER = Order(["snapshot", "work"], ["destroy"])
DONE = {"state": "done"}
BAD = {"state": "failed", "failure": "exit:3", "reason": "exit code 3"}


def begun(part, name):
    return {"begun": part, "name": name}


def ended(part, name, result=DONE):
    return {"ended": part, "name": name, "result": result}


def ran(part, name, result=DONE):
    return [begun(part, name), ended(part, name, result)]


WHOLE = [*ran("steps", "snapshot"), *ran("steps", "work"), *ran("always", "destroy")]


def finished(order, entries, results=None):
    """Return the entries after all that is left has run, with *results* by turn, else done."""
    entries = list(entries)
    while (turn := Progress.of(order, entries).next_turn()) is not None:
        entries += ran(*turn, (results or {}).get(turn, DONE))
    return entries


def turns(entries):
    return [Turn(each["begun"], each["name"]) for each in entries if "begun" in each]


def test_all_run_in_their_order_and_the_clean_up_last():
    entries = finished(ORDER, [])

    assert entries == WHOLE
    assert Progress.of(ORDER, entries).end == ("finished", "", "", False)


def test_after_a_failure_only_the_clean_up_runs():
    entries = finished(ORDER, [], {Turn("steps", "snapshot"): BAD})

    progress = Progress.of(ORDER, entries)
    assert turns(entries) == [("steps", "snapshot"), ("always", "destroy")]
    assert [each["state"] for each in progress.listed()["steps"]] == ["failed", "skipped"]
    assert progress.end == ("finished", "exit:3", "step snapshot: exit code 3", False)


@pytest.mark.parametrize("count", range(len(WHOLE) + 1))
def test_a_process_that_dies_at_any_moment_leaves_the_clean_up_to_the_next(count):
    before = WHOLE[:count]

    entries = finished(ORDER, [*before, {"found": "2"}])

    has_begun = any("begun" in each for each in before)
    cleaned = [each for each in entries if each.get("ended") == "always"]
    assert bool(cleaned) == has_begun
    # No step begins, or begins a second time, after the death.
    assert [each for each in turns(entries[count:]) if each.part == "steps"] == []
    all_done = sum(each.get("ended") == "steps" for each in before) == 2
    assert Progress.of(ORDER, entries).end.failure == ("" if all_done else LOST)


@given(st.lists(st.sampled_from([*WHOLE, {"found": "2"}, {"stopped": CANCELLED}, {"stopped": STOPPED}]), max_size=12))
def test_whatever_the_journal_holds_the_end_is_reached_and_clean(entries):
    entries = finished(ORDER, entries)

    progress = Progress.of(ORDER, entries)
    assert not progress.must_clean or Turn("always", "destroy") in progress.results or progress.finds > MOST_FINDS
    assert isinstance(progress.end.reason, str)


@pytest.mark.parametrize("why", [CANCELLED, STOPPED, LATE])
@pytest.mark.parametrize("at", ["snapshot", "work"])
def test_what_stops_a_step_stops_all_but_the_clean_up(why, at):
    before = [] if at == "snapshot" else ran("steps", "snapshot")
    stopped = [*before, begun("steps", at), {"stopped": why}, ended("steps", at, interrupted(why))]

    entries = finished(ORDER, stopped)

    end = Progress.of(ORDER, entries).end
    assert turns(entries)[-1] == ("always", "destroy")
    assert end.ended == why
    assert end.failure == (LOST if why == STOPPED else why)
    assert f"step {at}: " in end.reason


def test_what_is_stopped_before_anything_began_cleans_nothing():
    progress = Progress.of(ORDER, [{"stopped": CANCELLED}])

    assert progress.next_turn() is None
    assert progress.end == (CANCELLED, CANCELLED, "cancelled before a step had begun", False)
    assert {each["state"] for part in progress.listed().values() for each in part} == {"skipped"}


def test_an_attempt_that_may_have_left_something_is_cleaned_up_first_whatever_that_comes_to():
    order = Order(["snapshot", "work"], ["destroy"], cleans_first=True)

    entries = finished(order, [], {Turn("before", "destroy"): BAD})
    stopped = finished(order, [{"stopped": CANCELLED}])

    assert turns(entries) == [("before", "destroy"), ("steps", "snapshot"), ("steps", "work"), ("always", "destroy")]
    assert Progress.of(order, entries).end.failure == ""
    assert turns(stopped) == [("always", "destroy")]


def test_a_failed_clean_up_is_a_failure_and_hides_no_other():
    unclean = {"state": "failed", "failure": "exit:4", "reason": "exit code 4"}
    both = {Turn("steps", "work"): BAD, Turn("always", "destroy"): unclean}

    alone = Progress.of(ORDER, finished(ORDER, [], {Turn("always", "destroy"): unclean})).end
    together = Progress.of(ORDER, finished(ORDER, [], both)).end

    assert alone == ("finished", "exit:4", "clean-up step destroy: exit code 4", False)
    assert together == ("finished", "exit:3", "step work: exit code 3; clean-up step destroy: exit code 4", False)


def test_all_of_the_clean_up_runs_though_a_part_of_it_fails():
    order = Order(["work"], ["one", "two"])

    entries = finished(order, [], {Turn("always", "one"): BAD})

    assert turns(entries) == [("steps", "work"), ("always", "one"), ("always", "two")]


def test_what_was_done_before_is_not_repeated_and_is_listed():
    order = Order(["snapshot", "work"], ["destroy"], done={"snapshot": {"state": "done", "seconds": 1}})

    entries = finished(order, [])

    assert turns(entries) == [("steps", "work"), ("always", "destroy")]
    assert Progress.of(order, entries).listed()["steps"][0] == {"name": "snapshot", "state": "done", "seconds": 1}


def test_clean_up_that_kills_each_of_its_processes_is_given_up():
    entries = [*ran("steps", "snapshot"), *[begun("always", "destroy"), {"found": "2"}] * (MOST_FINDS + 1)]

    progress = Progress.of(ORDER, entries)

    assert progress.next_turn() is None
    assert progress.listed()["always"][0]["state"] == "lost"
    assert "clean-up step destroy: " in progress.end.reason
    assert progress.end.failure == LOST


def printed(*texts, nodes="n[1-2]", state="done"):
    return {
        "state": state,
        "nodes": {"succeeded": nodes, "failed": ""},
        "output": [{"nodes": where, "text": text, "octets": len(text.encode())} for where, text in texts],
    }


def test_an_output_is_one_whole_text_or_cannot_be_used():
    assert of_step(printed(("n[1-2]", "snap-1\n\n")))["output"] == "snap-1"
    assert of_step({"state": "done"})["output"] == ""
    assert "different texts" in unusable(printed(("n1", "a"), ("n2", "b")))
    assert "different texts" in unusable(printed(("n1", "a")))
    assert "limit" in unusable(printed(("n[1-2]", "x" * (LONGEST + 1))))
    cut = printed(("n[1-2]", "abc"))
    cut["output"][0]["octets"] = 7
    assert "cut off" in unusable(cut)


@pytest.mark.parametrize("state", ["skipped", "lost", "cancelled"])
def test_what_did_not_end_by_itself_has_no_output(state):
    assert "output" not in of_step({"state": state})


def test_what_a_step_printed_is_text_wherever_it_goes():
    about = About(
        {}, {"one": printed(("n[1-2]", "{{ data.x }}{% if %}; rm -rf $HOME")), "two": printed(("n[1-2]", "-f"))}
    )

    assert about.render("x {{ steps.one.output }}") == "x {{ data.x }}{% if %}; rm -rf $HOME"
    with pytest.raises(TemplateError, match="like an option"):
        about.render("{{ steps.two.output }}")
    with pytest.raises(TemplateError, match=r"steps\.NAME\.output"):
        about.render("{{ steps }}")


def test_a_default_does_not_hide_an_output_that_cannot_be_used():
    about = About({}, {"one": printed(("n1", "a"), ("n2", "b"))})

    with pytest.raises(TemplateError, match="the output of step one cannot be used: its nodes printed different texts"):
        about.render("{{ steps.one.output | default('x') }}")
    assert about.render("{{ steps.other.output | default('x') }}") == "x"
