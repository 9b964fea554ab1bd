"""Events as lines of syslog."""

import re
import socket
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from consumers.subscriptions import validation as checking
from consumers.verbs.interface import Surroundings
from consumers.verbs.log.syslog import LONGEST, line
from consumers.verbs.log.verb import LogVerb
from router.model.catalogue import Catalogues
from tests.consuming import make_delivery, make_event

README = Path(__file__).parents[4] / "consumers" / "verbs" / "log" / "README.md"
HOSTILE = 'a" severity="info"\nNov 20 15:22:07 root: all is well\r\x1b[31m\x85\u202e; rm -rf / $(id) {{ node }} %s'


class Daemon:
    """What listens where syslog does."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)

    def line(self):
        return self.socket.recv(65536).decode()

    def close(self):
        self.socket.close()
        self.path.unlink()


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path / "log")
    yield daemon
    daemon.socket.close()


@pytest.fixture
def handler_of():
    handlers = []

    def make(address, **fields):
        verb = LogVerb.model_validate({"syslog": {"address": str(address), **fields}, "store": False})
        handlers.append(verb.handler(Surroundings("audit")))
        return handlers[-1]

    yield make
    for handler in handlers:
        handler.close()


def test_an_event_is_one_line_of_the_local_syslog(daemon, handler_of):
    event = make_event()

    handler_of(daemon.path, facility="local3").write([make_delivery(event)])

    told = daemon.line()
    assert re.match(r"<156>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d clusterbus\[\d+\]: gpfs\.softQuotaExceeded ", told)
    assert f'id="{event.id}" node="nsd01" cluster="prod" severity="warning" subject="gpfs1/projects"' in told
    assert 'data.fsName="gpfs1" data.blockUsage=1048576' in told
    assert "blockLimit" not in told


def test_another_host_gets_it_by_udp_in_the_form_of_rfc_5424(handler_of):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(5)
        handler_of(f"udp 127.0.0.1:{other.getsockname()[1]}").write([make_delivery(make_event(severity="critical"))])
        told = other.recv(65536).decode()

    pattern = (
        r"<26>1 2026-11-20T15:22:07\.980656Z \S+ clusterbus \d+ softQuotaExceeded - \ufeffgpfs\.softQuotaExceeded id="
    )
    assert re.match(pattern, told), told


@pytest.mark.parametrize(
    ("severity", "level"), [("info", 6), ("notice", 5), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_the_level_is_the_events_severity(severity, level):
    assert line(make_event(severity=severity), 3, "local", "h").startswith(f"<{3 * 8 + level}>".encode())


@pytest.mark.parametrize("form", ["local", "rfc5424"])
def test_no_value_is_a_line_or_a_variable_of_its_own(form):
    told = line(make_event(subject=HOSTILE, x=HOSTILE, many=[HOSTILE]), 3, form, "h\nX: y").decode()

    assert told.isprintable() or form == "rfc5424"
    assert told.replace("\ufeff", "", 1).isprintable()
    assert told.count(' severity="') == 1
    assert "\\n" in told
    assert "\\u202e" in told
    assert "\\u0085" in told


@pytest.mark.parametrize(
    "value", ["x" * 1_000_000, "ü" * 1_000_000, "\n" * 1_000_000, ["n1"] * 100_000, "\U0001f600" * 2000]
)
def test_a_line_is_bounded_and_says_that_it_was_cut(value):
    told = line(make_event(big=value), 3, "rfc5424", "h")

    assert len(told) <= LONGEST
    assert told.decode().endswith(" [cut]")


def test_a_syslog_that_is_started_anew_is_found_again(daemon, handler_of, tmp_path):
    handler = handler_of(daemon.path)
    handler.write([make_delivery()])
    daemon.line()
    daemon.close()

    another = Daemon(tmp_path / "log")
    event = make_event()
    handler.write([make_delivery(event)])

    assert event.id in another.line()
    another.close()


def test_without_a_syslog_nothing_is_written_to_the_file_either(tmp_path):
    file = tmp_path / "events.jsonl"
    verb = LogVerb.model_validate({"syslog": {"address": str(tmp_path / "none")}, "file": str(file)})
    handler = verb.handler(Surroundings("audit"))

    with pytest.raises(OSError, match="syslog: No such file"):
        handler.write([make_delivery()])

    assert not file.exists()
    handler.close()


@pytest.mark.thorough
def test_a_syslog_that_does_not_read_is_waited_for_within_limits(daemon, handler_of):
    handler = handler_of(daemon.path)

    with pytest.raises(OSError, match="syslog: "):
        handler.write([make_delivery()] * 10_000)

    # What it has taken is there whole; the batch comes again.
    assert daemon.line().startswith("<")


def test_it_may_be_called_from_several_threads(daemon, handler_of):
    handler = handler_of(daemon.path)
    events = [make_event() for _ in range(8)]
    threads = [threading.Thread(target=handler, args=(make_delivery(each),)) for each in events]
    for thread in threads:
        thread.start()
    told = "".join(daemon.line() for _ in events)
    for thread in threads:
        thread.join(120)

    assert all(each.id in told for each in events)


def test_the_plan_says_where():
    verb = LogVerb.model_validate({"syslog": {"address": "udp 192.0.2.1:514"}})

    assert verb.handler(Surroundings("a")).plan(make_delivery()) == {"store": True, "syslog": "udp 192.0.2.1:514"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"facility": "deamon"}, "not a facility"),
        ({"address": "log.example.com:514"}, "by number"),
        ({"address": "udp log.example.com:514"}, "by number"),
        ({"address": "udp 192.0.2.1:0"}, "not a port"),
        ({"address": "udp 999.0.2.1:514"}, "999"),
        ({"format": "json"}, "rfc5424"),
        ({"sorage": 1}, "Extra"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake(fields, message):
    with pytest.raises(ValidationError, match=message):
        LogVerb.model_validate({"syslog": fields})


def test_syslog_alone_is_enough():
    assert LogVerb.model_validate({"syslog": {}, "store": False}).syslog
    with pytest.raises(ValidationError, match="nothing to write to"):
        LogVerb(store=False)


def test_the_example_of_its_page_has_no_mistakes(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "subscriptions.yaml").write_text(example)

    report = checking.check(tmp_path / "subscriptions.yaml", Catalogues.shipped())

    assert [*report.mistakes, *report.faults] == []
    assert report.subscriptions


def test_an_unknown_key_below_syslog_names_the_nearest(tmp_path):
    file = tmp_path / "subscriptions.yaml"
    file.write_text("version: 1\nsubscriptions:\n  - {name: a, on: quota, log: {syslog: {facilty: daemon}}}\n")

    (mistake,) = checking.check(file, Catalogues.shipped()).mistakes

    assert (mistake.field, mistake.message) == ("log.syslog.facilty", "unknown key; did you mean facility?")
