"""Writes into the store whether receivers of alerts answer: when that changes, and otherwise once a minute.

What cannot be written is logged, and holds nothing up: it is written the next time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

from router import redaction

from ..errors import StoreError
from ..expressions.sanitize import one_line, shortened
from ..store.alerts import receiver_health
from ..store.alerts.receiver_health import Attempt, Purpose
from ..store.database import Store

log = logging.getLogger(__name__)

_SECONDS = 60.0
"""Between two writings of what has not changed."""

_LONGEST = 500
"""Characters of an error that are kept."""


class HealthRecorder:
    """Knows what it has written of each address; several threads may use it, for different subscriptions."""

    def __init__(self, store: Store, clock: Callable[[], datetime], passed: Callable[[], float]) -> None:
        """Write to *store*; *clock* is for times that are kept, *passed* counts the seconds between two writings."""
        self._store, self._clock, self._passed = store, clock, passed
        self._written: dict[tuple[str, Purpose, str], tuple[bool, float]] = {}
        self._is_unwritable = False

    def record(self, subscription: str, purpose: Purpose, every: timedelta, found: Mapping[str, str]) -> None:
        """Write how *subscription* fared at each address in *found*: the error there, empty if there was none."""
        now, at = self._passed(), self._clock()
        due = {}
        for address, error in found.items():
            key, failed = (subscription, purpose, address), bool(error)
            had_failed, written = self._written.get(key, (None, 0.0))
            if failed != had_failed or now - written >= _SECONDS:
                due[key] = (failed, now)
        attempts = [Attempt(*key, every, at, _shown(found[key[2]])) for key in due]
        if attempts and self._has_written(lambda transaction: receiver_health.record(transaction, attempts)):
            self._written |= due

    def keep_only(self, wanted: Mapping[str, Collection[tuple[Purpose, str]]]) -> bool:
        """Delete what the subscriptions in *wanted* no longer do, or return False: it has to be tried again."""
        if not self._has_written(lambda transaction: receiver_health.keep_only(transaction, wanted)):
            return False
        for key in [*self._written]:
            if key[0] in wanted and key[1:] not in wanted[key[0]]:
                del self._written[key]
        return True

    def _has_written(self, write: Callable[..., None]) -> bool:
        try:
            with self._store.writing() as transaction:
                write(transaction)
        except StoreError as error:
            if not self._is_unwritable:
                log.warning(
                    "the store does not learn whether receivers of alerts answer; trying again",
                    extra={"reason": str(error)},
                )
            self._is_unwritable = True
            return False
        self._is_unwritable = False
        return True


def _shown(error: str) -> str:
    return shortened(one_line(redaction.redact(error)), _LONGEST)
