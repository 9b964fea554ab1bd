"""How long events take from one hand-over to the next, by what the router's state and the store remember."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from router import database
from router.errors import SettingsError, StateError
from router.model import durations, ids
from router.model.events import OWN
from router.pipeline.state import State

from ...errors import StoreError
from ...store import queries
from ...store.database import Store
from ...store.queries import Row
from .check_results import Finding

_COUNT = 200
_SLOW = timedelta(minutes=1)
_LONG = timedelta(hours=1)
_POSSIBLE = timedelta(days=30)


def routed(url: str) -> Iterator[Finding]:
    """Say how long the newest records took from capture to the router."""
    try:
        with State(url, upgrade=False) as state:
            newest = state.newest(_COUNT)
    except (StateError, SettingsError):
        return  # the part `router` says what is wrong with it
    yield from _taken("captured → routed", (_since_capture(id_, moment) for id_, moment in newest), "records")


def last_taken(url: str) -> datetime | None:
    """Return when the newest record came that the router took; None without one, or if its state cannot be read."""
    try:
        if not database.exists(database.parsed(url, State.setting)):
            return None
        with State(url, upgrade=False) as state:
            return next((moment for _, moment in state.newest(1)), None)
    except (StateError, SettingsError):
        return None  # the part `router` says what is wrong with it


def begun_and_done(url: str) -> Iterator[Finding]:
    """Say how long the newest deliveries took to begin and to end, and which has not ended for long."""
    try:
        with Store(url, upgrade=False) as store, store.reading() as transaction:
            rows = queries.find(transaction, limit=_COUNT)
    except (StoreError, SettingsError):
        return  # the part `store` says what is wrong with it
    # The id of an event of ours has the time of what caused it: the opening of an alert, the event of an action.
    first = (each for each in rows if each.attempt == 1 and not each.replay and not each.event.startswith(f"{OWN}."))
    yield from _taken("captured → begun", (_since_capture(each.event_id, each.started) for each in first), "deliveries")
    yield from _taken("begun → done", (each.ended - each.started for each in rows if each.ended), "deliveries")
    yield from _unended(rows)


def _since_capture(id_: str, moment: datetime) -> timedelta | None:
    """Return the time from the capture of the record *id_* to *moment*; None where its node's clock cannot be right."""
    try:
        found = moment - ids.moment_of(id_)
    except ValueError:
        return None
    return found if -_POSSIBLE < found < _POSSIBLE else None


def _taken(what: str, found: Iterable[timedelta | None], unit: str) -> Iterator[Finding]:
    taken = sorted(max(each, timedelta()) for each in found if each is not None)
    if not taken:
        return
    middle = taken[len(taken) // 2]
    seen = f"{what}: {_text(middle)} in the middle, at most {_text(taken[-1])}, of the newest {len(taken)} {unit}"
    if middle > _SLOW:
        advice = (
            "look for what waits: records in spools, records in ingress queues, deliveries; and at the nodes' clocks"
        )
        yield Finding("hand-overs", "warning", seen, advice)
    else:
        yield Finding("hand-overs", "ok", seen)


def _unended(rows: Iterable[Row]) -> Iterator[Finding]:
    now = datetime.now(UTC)
    oldest = min((each for each in rows if each.ended is None), key=lambda each: each.started, default=None)
    if oldest and now - oldest.started > _LONG:
        seen = f"a delivery of {oldest.subscription} has not ended for {_text(now - oldest.started)}: {oldest.event_id}"
        yield Finding("hand-overs", "warning", seen, f"clusterbus why {oldest.event_id} says what it waits for")


def _text(taken: timedelta) -> str:
    """Return *taken* in few digits.

    >>> _text(timedelta(milliseconds=1234)), _text(timedelta(hours=3, minutes=2, seconds=9))
    ('1.2s', '3h2m')
    """
    seconds = taken.total_seconds()
    if seconds < 60:  # noqa: PLR2004 - a minute
        return durations.text(timedelta(seconds=round(seconds, 1)))
    return durations.text(timedelta(minutes=round(seconds / 60)))
