"""What is registered: read from `-Y` whatever its columns are called, else from the text, and never half."""

import pytest

from router.cluster.callbacks.gpfs.installed import Registered, from_text, read
from router.cluster.gpfs.commands import Commands
from router.cluster.gpfs.errors import CommandFailed, NotUnderstood

TEXT = """\
test1
        command       = /tmp/myScript
        event         = startup
test2
        command       = /tmp/myScript2
        event         = shutdown,preShutdown
        parms         = %upNodes --x=1 = y
        node          = nsd01.example,nsd02.example
        sync          = yes
        timeout       = 30
        onerror       = shutdown
        priority      = 1.5
"""
BOTH = [
    Registered("test1", "/tmp/myScript", ("startup",)),
    Registered(
        "test2",
        "/tmp/myScript2",
        ("shutdown", "preShutdown"),
        "%upNodes --x=1 = y",
        ("nsd01.example", "nsd02.example"),
        1.5,
        True,
        30,
        "shutdown",
    ),
]
HEAD = "mmlscallback::HEADER:version:reserved:reserved:"
ROWS = """\
mmlscallback::0:1:::test1:/tmp/myScript::::startup::::
mmlscallback::0:1:::test2:/tmp/myScript2:1.5:yes:30:shutdown%2CpreShutdown:nsd01.example%2Cnsd02.example:%25upNodes --x%3D1 %3D y:shutdown:
"""  # noqa: E501


class Said:
    """Answers mmlscallback."""

    def __init__(self, rows, text):
        self.rows, self.text = rows, text

    def __call__(self, words):
        answer = self.rows if "-Y" in words else self.text
        if answer is None:
            raise CommandFailed(words, 1, "Incorrect option: -Y")
        return answer


def given(rows=None, text=TEXT):
    return read(Commands(Said(rows, text)))


@pytest.mark.parametrize(
    "columns",
    [
        "identifier:command:priority:sync:timeout:event:node:parms:onerror:",
        "callbackIdentifier:commandPathname:priority:Sync:timeout:events:nodeList:parms:onError:",
        "name:Command:Priority:mode:Timeout:Event:N:parameterString:action:",
    ],
)
def test_columns_are_found_by_their_names(columns):
    assert given(f"{HEAD}{columns}\n{ROWS}", text=None) == BOTH


def test_columns_may_stand_in_another_order_with_others_between():
    line = "mmlscallback::0:1:::startup:x:/tmp/myScript:test1:\n"

    assert given(f"{HEAD}event:object:command:identifier:\n{line}", text=None) == BOTH[:1]


def test_a_priority_of_minus_one_is_none_as_the_seed_has_it():
    (found,) = from_text(f"{TEXT.partition('test2')[0]}        priority = -1.0\n")

    assert found.priority is None


def test_the_text_is_read_where_there_is_no_y():
    assert given() == BOTH


def test_the_text_is_read_where_it_lost_its_indentation():
    assert from_text("\n".join(line.strip() for line in TEXT.splitlines())) == BOTH


def test_the_text_is_read_where_the_columns_of_y_are_not_known():
    assert given(f"{HEAD}a:b:c:\nmmlscallback::0:1:::1:2:3:\n") == BOTH


@pytest.mark.parametrize("rows", ["", f"{HEAD}identifier:command:event:\n"])
def test_nothing_is_registered_where_nothing_is_listed(rows):
    assert given(rows, text="") == []


@pytest.mark.parametrize(
    "text",
    [
        "test1\n        command       = /tmp/myScript\n",
        "test1\n  command = /x\n  event = startup,\nshutdown\n",
        "        command       = /tmp/myScript\n",
        "mmlscallback: there was trouble\n",
        f"{TEXT}        priority = soon\n",
        f"{TEXT}        timeout = inf\n",
        f"{TEXT}        timeout = nan\n",
    ],
)
def test_what_cannot_be_read_for_certain_is_an_error_and_no_short_list(text):
    with pytest.raises(NotUnderstood, match="mmlscallback"):
        given(text=text)


def test_a_command_that_fails_both_ways_is_an_error():
    with pytest.raises(CommandFailed, match="-Y"):
        given(text=None)
