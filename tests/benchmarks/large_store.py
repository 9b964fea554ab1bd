"""A store and a router's state as large as a site has them after years, made quickly.

`python -m tests.benchmarks.large_store FOLDER GIGABYTES`, and then, for example,
`CLUSTERBUS_CONSUMERS_STORE=sqlite:///FOLDER/store.db clusterbus doctor --part store`.
"""

import hashlib
import itertools
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from consumers.store.database import Store
from router.database.column_types import moment_text
from router.model.ids import new_id
from router.pipeline.state import State
from tests.consuming import make_event

_BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
_STEP = timedelta(seconds=20)
_PORTION = 10_000
_LETTERS_AMONG = 25
"""One of so many events became a letter; half of those still wait."""


def _quick(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    for pragma in ("synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").close()
    return connection


def _rows(begin: int, chain: bytes) -> Iterator[tuple[tuple, list[tuple], tuple | None, tuple]]:
    """Yield for each event its row of the audit, its attempts, its letter if it has one, and the router's record."""
    text = json.loads(make_event().to_json())
    text["data"]["note"] = "x" * 1500
    for number in range(begin, begin + _PORTION):
        at = _BEGIN + number * _STEP
        moment, id_ = moment_text(at), new_id(at)
        text |= {"id": id_, "time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
        body = json.dumps(text).encode()
        chain = hashlib.sha256(chain + body).digest()
        topic = "gpfs.prod.quota.softQuotaExceeded.gpfs1.nsd01"
        event = (number + 1, id_, "gpfs.softQuotaExceeded", topic, text["time"], body, chain)
        outcomes = [("audit", "done"), ("act", "done"), ("page", "dead" if number % 7 == 0 else "silenced")]
        said, result = f"exit code {number % 9}", '{"output": "' + "y" * 300 + '"}'
        ended = (None, said, result, "d" * 64, "boot/1/2", None)
        attempts = [
            (id_, name, "", 1, event[2], topic, "nsd01", moment, moment, outcome, *ended) for name, outcome in outcomes
        ]
        state = "kept" if number % (2 * _LETTERS_AMONG) == 0 else "dropped"
        letter = None
        if number % _LETTERS_AMONG == 0:
            settled = None if state == "kept" else moment
            letter = (f"{number:016x}", "delivery", id_, event[2], "page", 8, "clusterbus.return", topic)
            letter += (f"exit code {number % 9}", body * 4, "{}", moment, state, "", "", settled)
        record = (id_, id_, False, "nsd01", int(at.timestamp() * 1_000_000), chain)
        yield event, attempts, letter, record


def build(folder: Path, gigabytes: float) -> None:
    """Make `store.db` of this size and the `router.db` of its events in *folder*."""
    Store(f"sqlite:///{folder / 'store.db'}").close()
    State(f"sqlite:///{folder / 'router.db'}").close()
    store, state = _quick(folder / "store.db"), _quick(folder / "router.db")
    chain, begun = b"", time.monotonic()
    for begin in itertools.count(0, _PORTION):
        rows = list(_rows(begin, chain))
        chain = rows[-1][0][-1]
        for connection, table, some in (
            (store, "events", [each[0] for each in rows]),
            (store, "deliveries", [each for one in rows for each in one[1]]),
            (store, "letters", [each[2] for each in rows if each[2]]),
            (state, "records", [each[3] for each in rows]),
        ):
            connection.execute("BEGIN")
            connection.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(some[0]))})", some)
            connection.execute("COMMIT")
        size = (folder / "store.db").stat().st_size
        if size >= gigabytes * 2**30:
            break
    print(f"{begin + _PORTION} events, {size / 2**30:.1f} GiB, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    build(Path(sys.argv[1]), float(sys.argv[2]))
