"""What a program tells systemd and others of its health, over a broker in memory and a clock of the test's own."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from router.broker.interface import ConnectionState
from router.programs.health import Activity, Health
from router.programs.systemd_notify import Notifier
from tests.broker.memory import Memory

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AWAY = ConnectionState("amqp://mq1:5672", "the broker is unreachable: Connection refused")
GOOD = ConnectionState("amqp://mq1:5672")


class Line(Memory):
    """A line whose state is the test's."""

    state = GOOD

    @property
    def connection(self):
        return self.state


class Told(Notifier):
    """Keeps what systemd would be told."""

    def __init__(self, **environment):
        super().__init__(environment)
        self.sent = []

    def _send(self, what):
        if what != "WATCHDOG=1":
            self.sent.append(what)


class Bench:
    def __init__(self):
        self.line, self.told, self.alive = Line(), Told(), 0
        self.activity = Activity("routing", 0, 0)
        self.health = Health(self.line, lambda: self.activity, self.told, clock=self._clock, monotonic=self._monotonic)

    def _clock(self):
        return START + self.line.now

    def _monotonic(self):
        return self.line.now.total_seconds()

    def start(self, state=GOOD):
        self.line.state = state
        self.health.start()
        self.line.run()
        return self


@pytest.fixture
def bench():
    return Bench()


def test_a_program_that_serves_is_ready_and_says_what_it_does(bench):
    bench.start()

    assert bench.told.sent == [
        "STATUS=routing; connected to amqp://mq1:5672; 0 events a minute, 0 unfinished",
        "READY=1",
    ]
    assert bench.health.state.is_connected
    assert not bench.health.state.problem


def test_a_program_whose_broker_is_away_is_ready_once_it_knows_and_says_so(bench):
    bench.start(ConnectionState("", "no connection was attempted yet", is_settled=False))
    assert "READY=1" not in bench.told.sent

    bench.line.state = AWAY
    bench.line.advance(SECOND)

    assert bench.told.sent[-1] == "READY=1"
    assert bench.health.state.sentence == (
        "problem: not connected to amqp://mq1:5672: the broker is unreachable: Connection refused, since 2026-11-20"
        " 12:00 UTC; 0 events a minute, 0 unfinished"
    )
    assert not bench.health.state.is_connected


def test_a_program_that_knows_nothing_for_half_a_minute_is_ready_all_the_same(bench):
    bench.start(ConnectionState("amqp://mq1:5672", "no connection was attempted yet", is_settled=False))

    bench.line.advance(29 * SECOND)
    assert "READY=1" not in bench.told.sent
    bench.line.advance(2 * SECOND)

    assert bench.told.sent[-1] == "READY=1"


def test_a_problem_has_the_time_of_its_beginning_until_it_has_ended(bench):
    bench.start()
    bench.line.advance(timedelta(minutes=5))
    bench.line.state = AWAY
    bench.line.advance(timedelta(minutes=5))
    bench.line.state = ConnectionState("amqp://mq2:5672", "the broker refuses our credentials")
    bench.line.advance(10 * SECOND)
    assert bench.told.sent[-1].startswith(
        "STATUS=problem: not connected to amqp://mq2:5672: the broker refuses our credentials, since 2026-11-20 12:05"
    )

    bench.line.state = GOOD
    bench.line.advance(10 * SECOND)

    assert bench.told.sent[-1] == "STATUS=routing; connected to amqp://mq1:5672; 0 events a minute, 0 unfinished"


@pytest.mark.parametrize(
    ("state", "activity", "problem"),
    [
        (
            ConnectionState("amqp://mq1:5672", blocked="low on memory"),
            Activity("routing", 0, 7),
            "amqp://mq1:5672 blocks publishing: low on memory",
        ),
        (
            ConnectionState("amqp://mq1:5672", unread=("clusterbus.ingress",)),
            Activity("routing", 0, 7),
            "the broker does not let it read clusterbus.ingress",
        ),
        (
            ConnectionState("amqp://mq1:5672", unread=("clusterbus.ingress.1",), down=("clusterbus.history",)),
            Activity("routing", 0, 7),
            "the broker does not let it read clusterbus.ingress.1; the broker cannot reach clusterbus.history",
        ),
        (
            ConnectionState("amqp://mq1:5672", unlike=("queue q exists, but differs",)),
            Activity("routing", 0, 7),
            "queue q exists, but differs",
        ),
        (GOOD, Activity("routing", 0, 7, problem="the state cannot be written: disk full"), "the state cannot be"),
    ],
)
def test_each_cause_is_named_while_the_connection_is_there(bench, state, activity, problem):
    bench.activity = activity

    bench.start(state)

    assert bench.health.state.problem.startswith(problem)
    assert bench.health.state.sentence.endswith(", since 2026-11-20 12:00 UTC; 0 events a minute, 7 unfinished")
    assert bench.health.state.is_connected


def test_what_differs_and_is_used_is_named_and_no_problem(bench):
    bench.start(ConnectionState("amqp://mq1:5672", differing=("queue q exists, but differs, and is used as it is",)))

    assert bench.health.state.problem == ""
    assert bench.health.state.sentence.endswith("queue q exists, but differs, and is used as it is")


def test_the_rate_is_that_of_the_last_minute(bench):
    bench.start()
    for second in range(1, 121):
        bench.activity = Activity("routing", 2 * second, 0)
        bench.line.advance(SECOND)

    assert bench.health.state.sentence.endswith("120 events a minute, 0 unfinished")

    bench.line.advance(timedelta(minutes=2))

    assert bench.health.state.sentence.endswith("0 events a minute, 0 unfinished")


def test_passwords_and_control_characters_are_shown_to_nobody(bench):
    bench.activity = Activity("a", 0, 0, problem="postgresql://u:secret@db/x failed\nREADY=1")

    bench.start()

    assert "secret" not in bench.health.state.sentence
    assert "\n" not in bench.health.state.sentence


def test_reloading_is_told_between_ready_and_ready(bench):
    with bench.health.reloading():
        pass
    assert bench.told.sent == []

    bench.start()
    with bench.health.reloading():
        assert bench.told.sent[-1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    bench.health.stopping()

    assert bench.told.sent[-2:] == ["READY=1", "STOPPING=1"]


def test_a_loop_that_turns_is_noted_twice_within_the_watchdogs_time():
    bench = Bench()
    told = Told(WATCHDOG_USEC="4000000")
    times = []
    told.alive = lambda: times.append(bench.line.now)
    Health(bench.line, lambda: bench.activity, told).start()
    bench.line.run()

    bench.line.advance(10 * SECOND)

    assert times[-1] >= 8 * SECOND
    assert all(later - earlier <= 2 * SECOND for earlier, later in pairwise(times))


def test_what_systemd_gave_is_taken_out_of_the_environment_of_children():
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "PATH": "/bin"}

    notifier = Notifier(environment)

    assert environment == {"PATH": "/bin"}
    assert notifier.limit is None  # the watchdog is another process's
