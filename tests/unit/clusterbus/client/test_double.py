"""Programs of services over the double, which behaves as the broker does: the same tests hold there."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from clusterbus import Event, Rejected, events
from tests.consuming import make_event

BRIEFLY = timedelta(milliseconds=1)


def test_a_loop_ends_when_nothing_is_left_and_all_are_finished():
    given = [make_event(number=each) for each in range(3)]

    with events.double(given) as double:
        seen = [*events(service="tickets")]

    assert seen == double.finished == given
    assert (double.rejected, double.returned, [*double.waiting]) == ([], [], [])


def test_an_event_whose_block_raises_is_returned_and_comes_again():
    first, second = make_event(), make_event()

    with events.double([first, second]) as double:
        with suppress(ZeroDivisionError):
            for _ in events(service="tickets"):
                raise ZeroDivisionError
        assert (double.returned, [*double.waiting]) == ([first], [first, second])
        assert [*events(service="tickets")] == [first, second]

    assert double.finished == [first, second]


def test_a_loop_in_a_with_block_can_go_on_after_an_exception():
    first, second = make_event(), make_event()
    seen = []

    with events.double([first, second]) as double, events(service="tickets") as stream:
        with suppress(ZeroDivisionError):
            for event in stream:
                seen.append(event)
                raise ZeroDivisionError
        seen += [*stream]

    assert seen == [first, first, second]
    assert (double.returned, double.finished) == ([first], [first, second])


def test_an_event_that_is_returned_again_and_again_is_rejected_as_by_a_broker():
    first, second = make_event(), make_event(number=1)

    with events.double([first, second]) as double, events(service="tickets") as stream:
        for event in stream:
            if event == first:
                stream.give_back()

    assert len(double.returned) == 21
    assert (double.rejected, double.finished) == ([first], [second])


def test_the_end_of_an_inner_double_leaves_the_outer_one():
    first, second = make_event(), make_event(number=1)

    with events.double([first]) as outer:
        with events.double([second]):
            assert [*events(service="tickets")] == [second]
        assert [*events(service="tickets")] == [first]

    assert outer.finished == [first]


def test_two_loops_over_one_stream_are_refused():
    first, second = make_event(), make_event()

    with events.double([first, second]) as double, events(service="tickets") as stream:
        for _event in stream:
            with pytest.raises(RuntimeError, match="the stream has a loop already"):
                next(iter(stream))

    assert double.finished == [first, second]


def test_a_loop_over_a_closed_stream_is_an_error():
    with events.double([make_event(), make_event()]):
        stream = events(service="tickets")
        for _event in stream:
            break
        with pytest.raises(RuntimeError, match="the stream is closed"):
            next(iter(stream))


def test_events_that_are_passed_over_are_logged_once(caplog):
    given = [make_event(), make_event()]

    with events.double(given) as double:
        assert [*events("softQuotaExceded", service="tickets")] == []

    (record,) = caplog.records
    assert (record.levelname, record.on, record.id) == ("WARNING", "softQuotaExceded", given[0].id)
    assert double.finished == given


def test_a_rejected_event_is_neither_finished_nor_returned():
    first, second = make_event(), make_event()

    with events.double([first, second]) as double, events(service="tickets") as stream:
        for event in stream:
            if event == first:
                stream.reject()

    assert (double.rejected, double.finished) == ([first], [second])


async def _asynchronous(event: Event) -> None:
    raise AssertionError(event)


def _generator(event: Event) -> Iterator[Event]:
    yield event


async def _both(event: Event) -> AsyncIterator[Event]:
    yield event


@pytest.mark.parametrize("function", [_asynchronous, _generator, _both])
def test_a_handler_whose_body_a_call_does_not_run_is_refused(function):
    with pytest.raises(ValueError, match=f"{function.__name__} is async or a generator"):
        events.handler(service="tickets")(function)


def test_a_handler_is_tried_again_with_growing_pauses_and_then_rejects(monkeypatch):
    event, pauses, calls = make_event(), [], []
    monkeypatch.setattr("clusterbus.client.stream.Stream.pause", lambda _self, seconds: pauses.append(seconds))

    @events.handler(service="tickets", attempts=4, pause=timedelta(seconds=20))
    def ticket(event: Event) -> None:
        calls.append(event)
        raise ZeroDivisionError

    with events.double([event]) as double:
        ticket.run()

    assert (calls, pauses, double.rejected) == ([event] * 4, [20, 40, 60], [event])


def test_a_handler_that_succeeds_in_its_second_attempt_finishes_the_event():
    event, failing = make_event(), [ZeroDivisionError()]

    @events.handler(service="tickets", pause=BRIEFLY)
    def ticket(event: Event) -> None:
        if failing:
            raise failing.pop()

    with events.double([event]) as double:
        ticket.run()

    assert (double.finished, double.rejected) == ([event], [])


def test_a_handler_may_reject_and_can_be_called_as_the_function_that_it_is():
    @events.handler(service="tickets")
    def ticket(event: Event) -> str:
        """Open a ticket."""
        if event.severity == "warning":
            raise Rejected("only errors get tickets")
        return event.id

    bad, good = make_event(), make_event(severity="error")
    with events.double([bad, good]) as double:
        ticket.run()

    assert (double.rejected, double.finished) == ([bad], [good])
    assert ticket(good) == good.id
    assert (ticket.__name__, ticket.__doc__) == ("ticket", "Open a ticket.")


def test_asyncio_programs_can_use_it_too():
    given = [make_event(), make_event()]

    async def program():
        return [event async for event in events(service="tickets")]

    with events.double(given) as double:
        assert asyncio.run(program()) == given

    assert double.finished == given


def test_an_exception_in_an_asyncio_loop_returns_the_event():
    given = [make_event(), make_event()]

    async def program():
        async for _ in events(service="tickets"):
            raise ZeroDivisionError

    with events.double(given) as double, pytest.raises(ZeroDivisionError):
        asyncio.run(program())

    assert (double.returned, double.finished) == (given[:1], [])


def test_deduplication_is_the_same_as_over_a_broker():
    event, other = make_event(), make_event()

    with events.double([event, event, other]):
        assert [*events(service="tickets")] == [event, other]
    with events.double([event, event]):
        assert [*events(service="tickets", dedupe=False)] == [event, event]


def test_an_example_is_made_of_the_catalogue():
    event = events.example("gpfs.diskFailure", diskName="d7", cluster="prod")

    assert (event.type, event.cluster, event.data["diskName"]) == ("gpfs.diskFailure", "prod", ["d7"])
    assert event.data["fsName"]


def test_a_program_whose_environment_names_its_service_needs_none_in_tests():
    event = make_event()

    with events.double([event]):
        assert [*events()] == [event]


def test_after_the_block_a_broker_is_read_again():
    with events.double([]):
        pass

    with pytest.raises(Exception, match="no broker: give url=, or set CLUSTERBUS_URL"):
        events(service="tickets")


def test_a_program_that_reads_events_imports_none_of_the_router_and_its_settings():
    code = """
import sys
from clusterbus import Rejected, events
events(service="tickets", url="amqp://u:p@127.0.0.1/")
ours = {each for each in sys.modules if each.split(".")[0] in ("router", "consumers")}
allowed = ("router.broker", "router.model", "consumers.errors")
print(sorted(each for each in ours if each.count(".") and not each.startswith(allowed)))
print(sorted({"sqlalchemy", "yaml", "typer", "jinja2", "httpx2", "alembic", "apprise"} & sys.modules.keys()))
"""
    words = [sys.executable, "-c", code]
    ended = subprocess.run(
        words, capture_output=True, text=True, timeout=240, check=False, cwd=Path(__file__).parents[4]
    )

    small = ["errors", "file_modes", "passwords", "redaction", "references", "terminal_text", "trust"]
    ours, others = ended.stdout.splitlines()
    assert set(ours.strip("[]").replace("'", "").split(", ")) <= {f"router.{each}" for each in small}, ended.stderr
    assert others == "[]"


def test_what_is_published_is_kept_in_the_double():
    with events.double() as double:
        first = events.emit("slurm.jobFailed", jobId=1, cluster="prod")
        with events.publisher() as publish:
            second = publish("slurm.jobFailed", {"jobId": 2})
        with pytest.raises(ValueError, match="names no source"):
            events.emit("jobFailed")

    assert [(each.id, each.type, each.cluster, each.data) for each in double.emitted] == [
        (first, "slurm.jobFailed", "prod", {"jobId": 1}),
        (second, "slurm.jobFailed", "local", {"jobId": 2}),
    ]
