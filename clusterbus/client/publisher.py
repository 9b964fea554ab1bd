"""Publishes events of a service's own source, each until the broker has it on disk."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

from router.broker.interface import Settlement
from router.broker.session import Session
from router.errors import BrokerError, Refused
from router.model.records import Record
from router.services import producer
from router.services.producer import Given

from .double import Emitted
from .options import Login


class Publisher:
    """Publishes while its `with` block runs; after an error the next call connects again."""

    def __init__(self, login: Login, patience: timedelta) -> None:
        """Publish as the user of *login*.  Raises SettingsError."""
        self._login, self._node, self._patience = login, login.user, patience
        self._open = ExitStack()
        self._session: Session | None = None

    def __enter__(self) -> Self:
        """Connect; raises Unreachable, Refused and SettingsError."""
        self._connected()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self._close()

    def __call__(
        self,
        event_type: str,
        data: Mapping[str, Given] | None = None,
        /,
        *,
        cluster: str = "local",
        id: str = "",  # noqa: A002 - the word of events
        **variables: Given,
    ) -> str:
        """Publish an event, `SOURCE.EVENT`, with *data* and *variables*; return its id when the broker has it on disk.

        A call that is repeated with the *id* of an earlier one and equal values publishes nothing twice.  Raises
        ValueError for values that cannot be published, Refused where the broker says no, Unreachable where it is not
        certain that the broker has it.
        """
        found = _record(event_type, {**(data or {}), **variables}, cluster, self._node, id)
        message = producer.message(found)
        try:
            (settlement,) = self._connected().publish([message])
        except BrokerError:
            self._close()
            raise
        if settlement is not Settlement.CONFIRMED:
            raise Refused(f"the broker did not accept {found.id}: {settlement.value}")
        return found.id

    def _connected(self) -> Session:
        if self._session is None:
            session = Session(self._login.with_password(), name="clusterbus client", limit=self._patience)
            self._session = self._open.enter_context(session)
        return self._session

    def _close(self) -> None:
        self._session = None
        self._open.close()


class DoublePublisher:
    """Remembers in a double what is published."""

    def __init__(self, emitted: list[Emitted]) -> None:
        """Add to *emitted*."""
        self._emitted = emitted

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def __call__(
        self,
        event_type: str,
        data: Mapping[str, Given] | None = None,
        /,
        *,
        cluster: str = "local",
        id: str = "",  # noqa: A002 - as above
        **variables: Given,
    ) -> str:
        """Remember the event; raises ValueError as a publisher does."""
        values = {**(data or {}), **variables}
        found = _record(event_type, values, cluster, "double", id)
        producer.message(found)
        self._emitted.append(Emitted(found.id, event_type, cluster, values))
        return found.id


def _record(event_type: str, values: Mapping[str, Given], cluster: str, node: str, id_: str) -> Record:
    source, _, name = event_type.partition(".")
    if not source or not name:
        raise ValueError(f"{event_type!r} names no source: write SOURCE.EVENT, as in slurm.jobFailed")
    return producer.record(source, name, values, cluster=cluster, node=node, id_=id_)
