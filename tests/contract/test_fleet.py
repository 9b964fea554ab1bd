"""A round over nodes: what each is sent, what each answers, and what becomes of those that do not."""

import subprocess
import sys
from datetime import timedelta

import pytest

from router.cluster.fleet.runner import Answer, ask
from router.settings.models import NodesSettings

LOCAL = NodesSettings(transport="local", fanout=4, timeout=timedelta(seconds=20))


def python(code):
    return [sys.executable, "-IS", "-c", code]


def test_each_node_reads_what_is_for_all_and_what_is_its_own_and_answers_when_it_is_through():
    heard = []

    answers = ask(
        ["n1", "n2", "n3"],
        ["cat"],
        LOCAL,
        shared=b"for all; ",
        own={"n1": b"one", "n2": b"\xc3\xbc"},
        on_answer=lambda each: heard.append(each.node),
    )

    assert answers == {
        "n1": Answer("n1", "for all; one"),
        "n2": Answer("n2", "for all; ü"),
        "n3": Answer("n3", "for all; "),
    }
    assert sorted(heard) == ["n1", "n2", "n3"]


def test_a_command_that_reads_nothing_of_much_ends_as_any_other():
    answers = ask(["n1", "n2"], python("print(7)"), LOCAL, shared=b"x" * 1_000_000)

    assert [each.output for each in answers.values()] == ["7\n", "7\n"]


def test_how_each_failed_is_told():
    code = """
import os, sys, time
node = os.environ["CLUSTERBUS_NODE_NAME"]
if node == "n2":
    sys.exit("no")
if node == "n3":
    time.sleep(60)
"""

    answers = ask(["n1", "n2", "n3"], python(code), NodesSettings(transport="local", timeout=timedelta(seconds=2)))

    assert [each.failure for each in answers.values()] == [
        "",
        "its command ended with 1: no",
        "its command did not finish within 2 s",
    ]
    assert [each.late for each in answers.values()] == [False, False, True]


def test_nobody_is_asked_for_no_nodes():
    with pytest.raises(ValueError, match="names is empty: there are no nodes"):
        ask([], ["true"], LOCAL)


# A child of its own: the most memory that children ever had is known for all of them together only.
MANY = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from datetime import timedelta
from router.cluster.fleet.runner import ask
from router.settings.models import NodesSettings

names = [f"n{number}" for number in range(100)]
reach = NodesSettings(transport="local", fanout=4, timeout=timedelta(seconds=60))
answers = ask(names, ["true"], reach, shared=bytes(4_000_000))
assert not any(each.failure for each in answers.values())
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_what_many_nodes_are_sent_is_not_held_for_all_of_them(pytestconfig):
    command = [sys.executable, "-c", MANY, str(pytestconfig.rootpath)]

    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)

    # A hundred times four million octets would be 400 MB.
    assert int(ended.stdout) < 120_000
