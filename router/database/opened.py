"""An open database of one owner: its transactions, and its errors in place of the library's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import ClassVar, Self

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from .. import file_modes
from ..errors import SettingsError, VersionError
from .engines import READS
from .outages import Outage
from .revisions import Revisions, bring_up
from .time_limits import LIMIT, LIMIT_OF_COMMANDS, TooSlow, connected
from .urls import files, reason, shown


class Opened:
    """An open database; `close` or the end of a `with` closes it.

    A transaction that ends without an error is on disk.  If the database cannot be used, *failure* is raised, and
    nothing else, and nothing of the transaction is written.  *setting* names the database in messages, with its URL.
    """

    setting: ClassVar[str]
    failure: ClassVar[type[Exception]]

    def __init__(self, engine: Engine, url: URL, revisions: Revisions, *, upgrade: bool = True) -> None:
        """Open the database at *url* with *engine*, and create its tables or bring them to the latest of *revisions*.

        Without *upgrade*, the database is not changed.  With it, other users lose access to the files of SQLite, if
        these are ours.  Raises *failure*, whose cause is a VersionError if the tables are of another release.
        """
        self._engine, self._url = engine, url
        self._limit = LIMIT_OF_COMMANDS
        self.outage = Outage()
        try:
            with self._translated("opened"):
                if upgrade:
                    self._keep_from_others()
                bring_up(engine, revisions, f"{self.setting} {self.name}", upgrade=upgrade)
        except self.failure:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The URL without its secrets, for people."""
        return shown(self._url)

    def __enter__(self) -> Self:
        """Return the database, which is already open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _keep_from_others(self) -> None:
        # SQLite gives its other files the mode of the database.
        found = files(self._url)
        with suppress(OSError):  # SQLite itself says why it cannot be opened
            if found:
                file_modes.make_file(found[0])
        file_modes.close_to_others(found)

    def serve(self) -> None:
        """Keep the times of a program that serves others: transactions are short, and outages are logged."""
        self._limit = LIMIT
        self.outage.report()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that is written when the block ends without an error, and rolled back otherwise."""
        with self._translated("written"), self._connected(writing=True) as connection, connection.begin():
            yield connection
        self.outage.end(writing=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that only reads; it does not wait for writers."""
        with self._translated("read"), self._connected(writing=False) as connection:
            yield connection.execution_options(**{READS: True})
        self.outage.end(writing=False)

    def _connected(self, *, writing: bool) -> AbstractContextManager[Connection]:
        def over() -> None:
            # The thread that waits may be held for longer: a disk that hangs cannot be left alone.
            late = TooSlow(f"no answer within {self._limit.total_seconds():.0f} s")
            self.outage.begin(self._message("written" if writing else "read", late), writing=writing)

        return connected(self._engine, self._limit, over)

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        try:
            yield
        except VersionError as error:
            raise self.failure(str(error)) from error
        except SettingsError as error:
            # The password in a file cannot be read just now.
            self.outage.begin(str(error), writing=done == "written")
            raise self.failure(str(error)) from error
        except (SQLAlchemyError, TooSlow) as error:
            cause = getattr(error, "orig", None) or error
            message = self._message(done, cause)
            if not is_of_the_data(error) and not _is_conflict(cause):
                self.outage.begin(message, writing=done == "written")
                # The next attempt connects anew: to the server that took over, or to the file that was restored.
                self._engine.dispose()
            raise self.failure(message) from error

    def _message(self, _done: str, cause: Exception) -> str:
        """Return what to say if the database could not be *done*, which is "opened", "written" or "read"."""
        return f"{self.setting} {self.name}: {reason(cause, self._url)}"


def is_of_the_data(error: BaseException | None) -> bool:
    """Say whether the database refused a value, which it would refuse again, rather than the work."""
    return isinstance(error, DataError | IntegrityError)


def _is_conflict(error: Exception) -> bool:
    """Say whether PostgreSQL chose this transaction to make way for another one: it succeeds when it is repeated."""
    return getattr(error, "sqlstate", getattr(error, "pgcode", None)) in {"40001", "40P01"}
