"""Deletes what is older than the settings keep, in small portions with pauses, so that no delivery waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from router import database
from router.settings.models import ConsumersSettings

from ...errors import StoreError
from ...processes.attached_runs import attached
from ...processes.job_files import Jobs
from .. import audit
from ..attempts import ALWAYS_KEPT
from ..database import Store
from . import deleted_records, old_alerts, old_rows

log = logging.getLogger(__name__)

PORTION = 200
"""The largest number of rows of a table that one transaction reads to delete those that are over."""

_PAUSE = timedelta(seconds=1)
"""The pause between two portions, while there is more to delete."""

_LOOK = timedelta(minutes=10)
"""The pause when there is nothing to delete."""

_JOBS = 20
"""The largest number of folders of jobs that are removed at once."""

_LOST = timedelta(hours=1)
"""How long the folder of a run is kept whose consumer has died: the run is repeated, perhaps elsewhere."""

_NEVER_ENDED = timedelta(days=400)
"""How long a delivery without an end is kept at least after a consumer met it last, and a group after it was due."""

_RATES = timedelta(days=32)
"""How long it is kept what rates, folds, the radius, limits of failures and breakers look back on: longer than any of
them does; and receivers of alerts that nobody tries.
"""


def in_threads(pause: timedelta, function: Callable[[], None]) -> None:
    """Call *function* after *pause* in a thread of its own: a slow disk holds up nothing else."""
    timer = threading.Timer(pause.total_seconds(), function)
    timer.daemon = True
    timer.start()


class Retention:
    """Deletes old rows of the store, and old folders of jobs, from when it is started."""

    def __init__(
        self,
        store: Store,
        settings: ConsumersSettings,
        clock: Callable[[], datetime],
        later: Callable[[timedelta, Callable[[], None]], object] = in_threads,
    ) -> None:
        """Delete from *store* what *settings* do not keep; *later* calls a function after a pause."""
        self._store, self._settings, self._clock, self._later = store, settings, clock, later
        self._jobs = Jobs(settings.jobs)
        self._deliveries, self._groups, self._stops = (
            old_rows.old_deliveries(),
            old_rows.old_groups(),
            old_rows.old_stops(),
        )
        self._alerts, self._keys = old_alerts.old_alerts(), old_alerts.old_keys()
        self._rounds = (self._deliveries, self._groups, self._stops, self._alerts, self._keys)

    def start(self) -> None:
        """Delete the first portion soon, and go on for ever."""
        self._later(_PAUSE, self._tidy)

    def _tidy(self) -> None:
        is_more = False
        # Nobody waits for this thread: it may take its time.
        try:
            with database.within(database.LIMIT_OF_COMMANDS):
                is_more = self.portion()
        except StoreError:
            pass  # the store logs what fails
        except Exception:
            log.exception("old rows cannot be deleted; trying again later")
        self._later(_PAUSE if is_more else _LOOK, self._tidy)

    def portion(self) -> bool:
        """Delete one portion; return whether there may be more.  Raises StoreError."""
        settings, now = self._settings, self._clock()
        is_more = self._jobs.tidy(settings.keep_jobs, most=_JOBS) == _JOBS
        attached(self._jobs).tidy(settings.keep_jobs, lost=_LOST, most=_JOBS)
        with self._store.reading() as transaction:
            audited = audit.octets(transaction)
            others = max(0, (old_rows.octets(transaction) or 0) - audited)
            crowding = old_rows.with_too_many(transaction, PORTION)
        is_full, is_audit_full = others > settings.keep_size, audited > settings.keep_audit_size
        deleted, end = self._delete(now, crowding, is_full=is_full, is_audit_full=is_audit_full)
        # What is deleted now is younger than the settings ask for: people must know.
        if is_full:
            facts = {"octets": others, "limit": settings.keep_size}
            sentence = "the store exceeds its size; the oldest rows are deleted before their time"
            log.warning(sentence if deleted else "the store exceeds its size, and nothing may be deleted", extra=facts)
        if is_audit_full:
            facts = {"octets": audited, "limit": settings.keep_audit_size}
            sentence = "the audit exceeds its size; its oldest events are deleted before their time"
            log.warning(sentence if end else "the audit exceeds its size, and nothing may be deleted", extra=facts)
        is_more = is_more or any(each.has_more for each in self._rounds)
        return is_more or deleted >= PORTION or end is not None

    def _delete(
        self, now: datetime, crowding: Sequence[str], *, is_full: bool, is_audit_full: bool
    ) -> tuple[int, audit.Head | None]:
        """Delete a portion; return the largest number of rows of a table, and the end of what was cut of the audit."""
        settings = self._settings
        latest, lost = now - ALWAYS_KEPT, now - max(settings.keep_deliveries, _NEVER_ENDED)

        def before(keep: timedelta, *, at_once: bool = is_full) -> datetime:
            return latest if at_once else now - keep

        with self._store.writing() as transaction:
            rejected = old_rows.delete_rejected(transaction, crowding, PORTION)
            deleted_records.add(transaction, rejected, now)
            numbers = [
                sum(rejected.values()),
                old_rows.delete_deliveries(
                    transaction, self._deliveries, before(settings.keep_deliveries), PORTION, lost_before=lost
                ),
                old_rows.delete_lost_groups(transaction, self._groups, lost, PORTION),
                old_rows.delete_letters(transaction, before(settings.keep_letters), PORTION),
                old_rows.delete_stops(transaction, self._stops, now - settings.keep_deliveries, PORTION),
                old_alerts.delete_alerts(transaction, self._alerts, before(settings.keep_alerts), PORTION),
                old_alerts.delete_keys(transaction, self._keys, now - _RATES, PORTION),
            ]
            for columns, keep in ((old_rows.REMEMBERED, _RATES), (old_rows.OF_DELIVERIES, settings.keep_deliveries)):
                numbers += [old_rows.delete_old(transaction, each, now - keep, PORTION) for each in columns]
            before_audit = before(settings.keep_audit, at_once=is_audit_full)
            end = audit.cut(transaction, before=before_audit, now=now)
        for user, number in rejected.items():
            facts = {"user": user, "letters": number, "limit": old_rows.MOST_OF_PUBLISHER}
            log.warning("one user has too many rejected records; the oldest are deleted", extra=facts)
        if end:
            # Whoever stores the chain elsewhere finds here from where it goes on.
            facts = {"sequence": end.sequence, "chain": end.chain.hex()}
            log.info("the oldest events of the audit are deleted", extra=facts)
        return max(numbers), end
