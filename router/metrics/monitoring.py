"""The pages `/metrics`, `/healthz` and `/readyz` of a program.  Each asks the program itself, and never waits for long.

`/healthz` asks the program's loop to turn.  `/readyz` also reads the database, and asks the broker about each queue
that the program uses, over the connection on which it consumes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from queue import SimpleQueue
from typing import TYPE_CHECKING

from .. import redaction
from ..terminal_text import visible
from . import broker_metrics
from .broker_metrics import Queues, ask_queues, look_at_connection
from .exposition import CONTENT_TYPE, Metric, Scrape, Values
from .probe import Answered, Look, Probe
from .web_server import Page, WebServer

if TYPE_CHECKING:
    from ..broker.client import Rabbit

STUCK, AWAY = 10.0, 10.0
"""After so many seconds without an answer, a loop counts as stuck, and a database or a broker as away."""

_PATIENCE = 1.0
_LOOP_FRESH, _OTHERS_FRESH = 0.5, 5.0
"""For how many seconds an answer is used: it costs the loop next to nothing, and the others something."""

_LONGEST = 500

INFO = Metric("program_info", "gauge", "1, with the name of the program and its release.", ("program", "version"))
READY = Metric("ready", "gauge", "1 while /readyz answers 200.")
LOOP = Metric("loop_seconds", "gauge", "How long the program's loop took to answer last.")
UNANSWERED = Metric("loop_unanswered_seconds", "gauge", "How long the loop has not answered; 0 while it answers.")
DATABASE = Metric("database_up", "gauge", "1 while the program's database answers.")
DATABASE_SECONDS = Metric("database_seconds", "gauge", "How long the database took to answer last.")
METRICS = (INFO, READY, LOOP, UNANSWERED, DATABASE, DATABASE_SECONDS, *broker_metrics.METRICS)


@dataclass(frozen=True, slots=True)
class Program:
    """What is asked of a program: *read* in a thread that may wait for the database, all else in the broker's thread.

    *queues* are those that the program consumes, and others whose depth is of interest.  *problem* says what keeps the
    program from working, and is empty where nothing does.
    """

    name: str
    broker: Rabbit
    look: Callable[[], Values]
    read: Callable[[], Values]
    queues: Callable[[], Sequence[str]]
    problem: Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Turn:
    """What the program's loop has answered."""

    problem: str
    values: Sequence[Values]


class Monitoring:
    """Answers for one program at one address, while the block of `answering` runs."""

    def __init__(self, setting: str, address: str, program: Program) -> None:
        """Listen at *address*, which *setting* has.  Raises SettingsError where it cannot be used."""
        self._program = program
        self._info = (program.name, version("clusterbus"))
        self._reader = _Reader(program.read)
        self._loop = Probe(self._ask_loop, fresh=_LOOP_FRESH, patience=_PATIENCE)
        self._database = Probe(self._reader.ask, fresh=_OTHERS_FRESH, patience=_PATIENCE)
        self._queues = Probe(ask_queues(program.broker, program.queues), fresh=_OTHERS_FRESH, patience=_PATIENCE)
        self._server = WebServer(setting, address, self._page)

    @property
    def port(self) -> int:
        """The port it listens at."""
        return self._server.port

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer until the block ends."""
        with self._reader, self._server:
            yield

    def _ask_loop(self, answered: Answered[_Turn]) -> None:
        program = self._program

        def turn() -> None:
            try:
                answered(_Turn(program.problem(), (look_at_connection(program.broker), program.look())))
            except Exception as error:  # noqa: BLE001 - it would end the program's loop
                answered(error)

        program.broker.call(turn)

    def _page(self, path: str) -> Page | None:
        match path:
            case "/metrics":
                return self._metrics()
            case "/healthz":
                return _verdicts([("loop", _loop_problem(self._loop.look()))])
            case "/readyz":
                return _verdicts(self._checks())
        return None

    def _checks(self) -> list[tuple[str, str]]:
        """Return what is asked before the program counts as ready, each with its problem, empty if there is none."""
        loop, database, queues = self._loop.look(), self._database.look(), self._queues.look()
        return [
            ("loop", _loop_problem(loop)),
            ("work", loop.answer.problem if loop.answer else "not known yet"),
            ("database", _problem(database)),
            ("queues", _problem(queues) or _missing(queues.answer)),
        ]

    def _metrics(self) -> Page:
        checks, scrape = self._checks(), Scrape()
        loop, database, queues = self._loop.look(), self._database.look(), self._queues.look()
        scrape.add(INFO, 1, *self._info)
        scrape.add(READY, not any(problem for _, problem in checks))
        scrape.add(LOOP, loop.took)
        scrape.add(UNANSWERED, loop.unanswered)
        scrape.add(DATABASE, not _problem(database))
        scrape.add(DATABASE_SECONDS, database.took)
        # What is not known now is left out: an old value would look like a new one.
        for each in loop.answer.values if loop.answer and loop.unanswered < AWAY else ():
            each(scrape)
        if database.answer and database.unanswered < AWAY:
            database.answer(scrape)
        if queues.answer and queues.unanswered < AWAY:
            queues.answer.add_to(scrape)
        return Page(scrape.text(), content_type=CONTENT_TYPE)


class _Reader:
    """A thread that reads the database when it is asked to; one that hangs holds up nothing else."""

    def __init__(self, read: Callable[[], Values]) -> None:
        self._read = read
        self._asked: SimpleQueue[Answered[Values] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="metrics-database", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._asked.put(None)
        self._thread.join(1)

    def ask(self, answered: Answered[Values]) -> None:
        self._asked.put(answered)

    def _run(self) -> None:
        while answered := self._asked.get():
            try:
                answered(self._read())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
                answered(error)


def _loop_problem(look: Look[_Turn]) -> str:
    if look.unanswered > STUCK:
        return f"the program's loop has not turned for {look.unanswered:.0f} s"
    return str(look.error or "")


def _problem(look: Look[Values] | Look[Queues]) -> str:
    if look.unanswered > AWAY:
        return f"no answer for {look.unanswered:.0f} s"
    if look.error:
        return str(look.error) or type(look.error).__name__
    return "" if look.answer else "no answer yet"


def _missing(queues: Queues | None) -> str:
    return f"missing: {', '.join(queues.missing)}" if queues and queues.missing else ""


def _verdicts(checks: Sequence[tuple[str, str]]) -> Page:
    """Return a page with a line for each check, and the status 503 where one has a problem."""
    lines = [
        f"{'error' if problem else 'ok'} {name}{': ' if problem else ''}{_shown(problem)}" for name, problem in checks
    ]
    status = HTTPStatus.SERVICE_UNAVAILABLE if any(problem for _, problem in checks) else HTTPStatus.OK
    return Page("".join(f"{line}\n" for line in lines).encode(), status)


def _shown(problem: str) -> str:
    return visible(redaction.redact(problem))[:_LONGEST]
