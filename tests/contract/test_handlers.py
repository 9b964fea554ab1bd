"""What every handler owes: it reports, it stops when told, it bears any event, and none of it leaks."""

import os
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.deliveries import Done
from consumers.policies.retry import attempt
from consumers.verbs.interface import Surroundings
from consumers.verbs.log.lines import LinesFile
from consumers.verbs.run.local import CommandHandler
from consumers.verbs.run.verb import RunVerb
from tests.consuming import QUICK, make_delivery, make_event, python, text_of

HOSTILE = {
    "quotes": "a'b\"c; rm -rf / $(id) `id` | cat > /x & \\",
    "lines": "one\ntwo\r\nthree",
    "control": "\x01\x1b[31m\x7f",
    "nul": "a\0b",
    "unicode": "ünïcödé \u202e\U0001f600",
    "long": "x" * 200_000,
    "list": ["a", "b c"],
    "dash": "--force",
    "percent": "%s %n {0} {{ data }} {% if %}",
}


def open_descriptors():
    """Return what is open, as pairs of number and target: what earlier tests left may be closed at any time."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the folder itself
            found.add((each.name, str(each.readlink())))
    return found


@pytest.fixture(params=["log", "run"])
def handler(request, tmp_path):
    """Each handler of ours, as a function of a delivery, and what it has written."""
    file = tmp_path / "out"
    if request.param == "log":
        lines = LinesFile(file)
        return (lambda delivery: lines.append([delivery])), file
    verb = RunVerb(
        command=("/bin/sh", "-c", 'event=$(cat); printf "%s\\n" "$event" >> "$0"', str(file)),
        timeout=timedelta(seconds=10),
    )
    return CommandHandler(verb, Surroundings("a")), file


def test_a_handler_gets_the_event_whole(handler):
    function, file = handler
    event = make_event()

    function(make_delivery(event))

    assert file.read_bytes() == event.to_json() + b"\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_no_value_of_an_event_disturbs_a_handler(handler, name):
    function, file = handler
    event = make_event(**{name: HOSTILE[name]})

    report = function(make_delivery(event))

    assert report is None or report.failure is None
    assert file.read_bytes() == event.to_json() + b"\n"


def test_a_handler_may_be_called_again_for_the_same_delivery(handler):
    function, file = handler
    delivery = make_delivery(make_event())

    function(delivery)
    function(delivery)

    assert file.read_bytes() == (delivery.event.to_json() + b"\n") * 2


def test_a_handler_may_be_called_from_several_threads(handler):
    function, file = handler
    deliveries = [make_delivery(make_event()) for _ in range(4)]

    threads = [threading.Thread(target=function, args=(each,)) for each in deliveries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    bodies = sorted(line for line in file.read_bytes().split(b"\n") if line)
    assert bodies == sorted(each.event.to_json() for each in deliveries)


def test_a_handler_leaves_no_descriptor_open(handler):
    function, _ = handler
    function(make_delivery(make_event()))
    before = open_descriptors()

    for _ in range(5):
        function(make_delivery(make_event()))

    assert open_descriptors() <= before


def test_a_command_that_is_asked_to_stop_has_no_outcome():
    stopping = threading.Event()
    verb = RunVerb(command=tuple(python("import time; time.sleep(60)")), timeout=timedelta(seconds=60))
    function = CommandHandler(verb, Surroundings("a", stopping))
    threading.Timer(0.3, stopping.set).start()
    began = time.monotonic()

    outcome = attempt(make_delivery(make_event()), function, QUICK)

    assert outcome is None
    assert time.monotonic() - began < 30  # half of what the command takes


def test_a_command_that_ends_well_is_done_with_what_it_said():
    verb = RunVerb(command=("/bin/echo", "{{ data.fsName }}"))

    outcome = attempt(make_delivery(make_event()), CommandHandler(verb, Surroundings("a")), QUICK)

    assert isinstance(outcome, Done)
    assert text_of(outcome) == "gpfs1\n"
    assert outcome.result["exit"] == {"0": os.uname().nodename}


def test_a_command_is_a_list_of_words_and_no_event_makes_it_two():
    words = ["/bin/echo", "<{{ data.quotes }}>"]
    event = make_event(**HOSTILE | {"nul": "-"})
    verb = RunVerb(command=tuple(words))

    report = CommandHandler(verb, Surroundings("a"))(make_delivery(event))

    assert text_of(report) == f"<{HOSTILE['quotes']}>\n"
