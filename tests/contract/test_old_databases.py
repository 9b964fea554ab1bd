"""Databases of earlier releases, opened by this one: nothing is lost, whatever happens meanwhile.

`tests/databases/` holds what earlier releases wrote, on SQLite and on PostgreSQL; each file says how it was made.
"""

import logging
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, inspect, select, text

from consumers.deliveries import Key, Retry
from consumers.errors import StoreError
from consumers.inspection.doctor import databases as doctor
from consumers.policies.places import Place
from consumers.store import approvals, attempts, audit, bindings, breakers, letters, queries, silences
from consumers.store import schema as store_schema
from consumers.store.database import Store
from consumers.store.limits import taken_places
from router import database as databases
from router.cluster.facts import schema as facts_schema
from router.cluster.facts.errors import FactsError
from router.cluster.facts.facts_store import FactStore
from router.cluster.facts.parts import Answer
from router.database import migration
from router.database.engines import for_upgrade
from router.errors import NotUpgraded, StateError, VersionError
from router.pipeline import state_schema
from router.pipeline.state import Changes, State
from router.pipeline.state_rows import Fate
from tests.processes import bound

DUMPS = Path(__file__).parents[1] / "databases"
ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ALERTS = ("alert_keys", "alert_observations", "alerts", "alert_changes", "alert_clock", "alert_receivers")
ID = "01KAG2V0M3Y8ZT6Q4XJ5W9E7R{}".format


@dataclass(frozen=True)
class Owner:
    """What keeps tables, and an old database of its own."""

    dump: str
    opened: Callable[..., databases.Opened]
    error: type[Exception]
    revisions: databases.Revisions
    tables: MetaData
    where: str
    """The import and the name by which a program opens it."""
    stop: str
    """The function of Alembic that the last step of the upgrade calls."""

    def __str__(self) -> str:
        return self.dump


STATE = Owner(
    "state",
    State,
    StateError,
    state_schema.REVISIONS,
    state_schema.metadata,
    "router.pipeline.state State",
    "op.create_table",
)
FACTS = Owner(
    "facts",
    FactStore,
    FactsError,
    facts_schema.REVISIONS,
    facts_schema.metadata,
    "router.cluster.facts.facts_store FactStore",
    "op.drop_table",
)
STORE = Owner(
    "store_of_first_release",
    Store,
    StoreError,
    store_schema.REVISIONS,
    store_schema.metadata,
    "consumers.store.database Store",
    "op.drop_table",
)
every_owner = pytest.mark.parametrize("owner", [STATE, FACTS, STORE], ids=str)


@pytest.fixture
def old(database):
    """A function that returns the address of a database that holds a dump."""

    def load(dump, name=None):
        url = database(name or dump)
        kind = "sqlite" if url.startswith("sqlite") else "postgresql"
        statements = (DUMPS / f"{dump}.{kind}.sql").read_text(encoding="utf-8")
        if kind == "sqlite":
            connection = sqlite3.connect(url.removeprefix("sqlite:///"))
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(statements)
            connection.close()
            # As our programs leave it.
            Path(url.removeprefix("sqlite:///")).chmod(0o600)
        else:
            with psycopg.connect(url) as connection:
                connection.execute(statements)
        return url

    return load


@contextmanager
def looking(url):
    engine = databases.engine(databases.parsed(url, "test"))
    with engine.connect().execution_options(**{databases.READS: True}) as transaction:
        yield transaction
    engine.dispose()


def rows(url):
    """Return all rows of the database at *url*, by table."""
    with looking(url) as transaction:
        metadata = MetaData()
        metadata.reflect(transaction)
        return {
            name: sorted(map(repr, transaction.execute(select(table)).mappings()))
            for name, table in metadata.tables.items()
        }


def shape(url):
    """Return columns, keys and indexes of the database at *url*, by table."""
    with looking(url) as transaction:
        found = inspect(transaction)
        return {
            name: (
                [{**each, "type": str(each["type"])} for each in found.get_columns(name)],
                found.get_pk_constraint(name)["constrained_columns"],
                sorted(each["column_names"] for each in found.get_unique_constraints(name)),
                sorted((each["name"], each["column_names"], condition(each)) for each in found.get_indexes(name)),
                found.get_table_options(name) if transaction.dialect.name == "sqlite" else None,
            )
            for name in found.get_table_names()
        }


def condition(index):
    """Return the condition of a partial index as text."""
    return {name: str(value) for name, value in index.get("dialect_options", {}).items()}


def program(code, *words):
    """Start a Python program of its own that runs *code*."""
    command = bound([sys.executable, "-P", "-c", code, *words])
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# nothing is lost, and work goes on


def upgraded(url, owner, revision):
    """Bring the database of before the table of versions at *url* to *revision*, as releases of that revision do."""
    engine = databases.engine(databases.parsed(url, "test"))
    with for_upgrade(engine) as transaction:
        theirs = owner.revisions
        migration.upgrade(transaction, theirs.folder, theirs.table, revision, unrecorded="1")
    engine.dispose()


@pytest.mark.parametrize("revision", [None, "1", "2", "3"])
def test_an_old_state_keeps_all_its_rows_and_the_router_goes_on_with_it(old, revision):
    url = old("state")
    if revision:
        upgraded(url, STATE, revision)
    before = rows(url)
    assert before.get("state_alembic_version") == (revision and [f"{{'version_num': '{revision}'}}"])

    with State(url) as state:
        after = rows(url)
        assert all("'digest': None" in each for each in after["records"])
        for each in (before, after):
            each["records"] = [row.replace(", 'digest': None", "") for row in each["records"]]
        new = {"refusals": [], "misses": [], "dismissals": []}
        assert after == before | {"state_alembic_version": ["{'version_num': '6'}"]} | new
        with state.transaction() as transaction:
            assert transaction.fates([ID("B"), ID("D")]) == {ID("B"): Fate(ID("B"), ID("A"), "n2", received=NOON)}
            assert transaction.observers([ID("A"), ID("C")]) == {ID("A"): 2}
            (occurrence,) = transaction.occurrences({"0123456789abcdef" * 2: [NOON]}, MINUTE)["0123456789abcdef" * 2]
            assert occurrence.observers == {"n1", "n2"}
            assert list(transaction.nodes_with_untold_gaps(NOON)) == [("prod", "n1"), ("prod", "n2")]
            second, third = transaction.waiting()
        with state.transaction() as transaction:
            another = second.model_copy(update={"id": ID("W")})
            transaction.write(Changes(fates=[Fate(ID("D"), ID("D"), "n1", b"digest")], outbox=[second, another]), NOON)
        with state.transaction() as transaction:
            assert [each.id for each in transaction.waiting()] == [second.id, third.id, ID("W")]
            assert transaction.fates([ID("D")])[ID("D")].digest == b"digest"
        assert (state.facts().records, state.facts().copies, state.facts().missing) == (4, 1, 5)


def test_old_facts_keep_all_their_rows_and_more_are_written(old):
    url = old("facts")
    before = rows(url)
    del before["facts_version"]

    with FactStore(url) as store:
        assert rows(url) == before | {"facts_alembic_version": ["{'version_num': '2'}"]}
        assert store.clusters() == ["prod", "test"]
        (failing,) = store.known("prod")
        assert (failing.part, failing.confirmed, failing.reason) == (
            "states",
            NOON + 2 * MINUTE,
            "mmgetstate: ended with 1: busy",
        )
        assert [each.part for each in store.known("prod", NOON)] == ["disks/gpfs1", "states"]
        store.write("prod", {"states": Answer(failing.content)}, NOON + 4 * MINUTE)
        assert [(each.confirmed, each.reason) for each in store.known("prod")] == [(NOON + 4 * MINUTE, "")]
        assert len(store.history("prod", "states")) == 3


def test_a_store_of_the_first_release_keeps_all_its_rows_and_consumers_go_on_with_it(old):
    url = old("store_of_first_release")
    before = rows(url)
    del before["store_version"]

    with Store(url) as store:
        after = rows(url)
        assert after.pop("alembic_version") == ["{'version_num': '10'}"]
        assert {name: len(after[name]) for name in after.keys() - before.keys()} == dict.fromkeys(
            (
                "passes",
                "places",
                "failures",
                "stops",
                "folds",
                "silences",
                "breakers",
                "approvals",
                "amendments",
                "audit_cuts",
                "deleted_records",
                *ALERTS,
            ),
            0,
        )
        kept = [each.replace(", 'lane': None, 'place': None", "") for each in after["deliveries"]]
        assert kept == before["deliveries"]
        after["letters"] = [each.replace(", 'publisher': None", "") for each in after["letters"]]
        assert {name: after[name] for name in before if name != "deliveries"} == {
            name: content for name, content in before.items() if name != "deliveries"
        }
        _read_and_write(store)


def test_a_store_of_revision_2_keeps_all_its_rows_and_consumers_go_on_with_it(old):
    url = old("store")
    before = rows(url)

    with Store(url) as store:
        kept = [f"{each[:-1]}, 'place': None}}" for each in before.pop("deliveries")]
        after = rows(url)
        # Those of before are as old as the upgrade.
        after["breakers"] = [re.sub(", 'latest': '20[^']+'}", "}", each) for each in after["breakers"]]
        assert after == before | {
            "alembic_version": ["{'version_num': '10'}"],
            "audit_cuts": [],
            "places": [],
            "failures": [],
            "stops": [],
            "deleted_records": [],
            "deliveries": kept,
            "letters": [f"{each[:-1]}, 'publisher': None}}" for each in before["letters"]],
            **{name: [] for name in ALERTS},
        }
        with store.reading() as transaction:
            assert [each.comment for each in silences.find(transaction, at=NOON)] == ["it's \N{SNOWMAN}"]
            assert [each.id for each in approvals.pending(transaction, NOON)] == ["0123456789ab"]
            assert breakers.find(transaction)["post hub:443"].failed == 6
            assert letters.amended(transaction, ["0" * 16, "0123456789abcdef"]).keys() == {"0123456789abcdef"}
        _read_and_write(store)


def test_what_ran_under_at_most_at_the_upgrade_keeps_its_place(old):
    url = old("store_of_first_release")
    upgraded(url, STORE, "4")
    columns = "event_id, subscription, replay, attempt, event, topic, node, started, digest, owner, lane, place"
    rest = f"'', 1, 'e', 't', 'n', '{NOON.isoformat(timespec='microseconds')}', 'd', 'o', '', '[\"gpfs1\"]'"
    engine = databases.engine(databases.parsed(url, "test"))
    with engine.begin() as transaction:
        for number, more in (("A", ""), ("B", "done"), ("C", "wait")):
            values = f"'{ID(number)}', 'act', {rest}"
            transaction.execute(text(f"INSERT INTO deliveries ({columns}) VALUES ({values})".replace(":", r"\:")))
            if more:
                ended = f"UPDATE deliveries SET outcome = '{more}', result = '{{}}' WHERE event_id = '{ID(number)}'"
                transaction.execute(text(ended))
    engine.dispose()

    with Store(url) as store, store.reading() as transaction:
        place = Place("subscription", 'act ["gpfs1"]')
        found = taken_places.holders(transaction, [place], datetime.now(UTC))[place]
    assert {each.event_id for each in found.now} == {ID("A"), ID("C")}


def _read_and_write(store):
    with store.writing() as transaction:
        assert audit.verify(transaction) is None
        assert audit.head(transaction).sequence == 3
        (letter,) = letters.find(transaction)
        assert (letter.id, letter.reason, letter.body) == ("0123456789abcdef", "it's \N{SNOWMAN}", b"\x00\xff{}")
        assert letters.settle(transaction, letter.id, "dropped", "me", NOON)
        assert bindings.remember(transaction, "mail", ["gpfs.#"]) == {"qube.*.job.#"}
        known = {each.event_id: each for each in attempts.find(transaction, subscription="mail")}
        assert known[ID("A")].outcome == "done"
        key = Key(ID("C"), "mail", "")
        assert attempts.look_up(transaction, [key])[key][1].outcome == Retry(timedelta(seconds=5), "exit code 1")
        counted = {(each.subscription, each.outcome): each.attempts for each in queries.count(transaction)}
        assert counted == {("mail", "done"): 1, ("mail", "dead"): 1, ("mail", "retry"): 1, ("open", "open"): 1}


@every_owner
def test_an_upgraded_database_has_the_same_tables_as_a_new_one(owner, old, database):
    upgraded, new = old(owner.dump), database("new")

    owner.opened(upgraded).close()
    owner.opened(new).close()

    assert shape(upgraded) == shape(new)


@every_owner
def test_revisions_lead_to_the_tables_that_the_code_has(owner, database):
    url = database("new")
    owner.opened(url).close()

    with looking(url) as transaction:
        context = MigrationContext.configure(transaction, opts={"version_table": owner.revisions.table})
        assert compare_metadata(context, owner.tables) == []


@every_owner
def test_the_latest_revision_is_what_the_release_reads(owner):
    revisions = [
        line.split('"')[1]
        for file in owner.revisions.folder.glob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith("revision = ")
    ]

    assert max(revisions, key=int) == owner.revisions.latest


def test_revisions_are_found_whatever_the_name_of_their_folder(database, tmp_path):
    folder = shutil.copytree(STATE.revisions.folder, tmp_path / "100% new: %(here)s" / "versions")
    engine = databases.engine(databases.parsed(database("state"), "test"))

    databases.bring_up(engine, replace(STATE.revisions, folder=folder), "test")

    engine.dispose()
    with State(database("state")) as state:
        assert state.facts().records == 0


def test_several_owners_share_one_database(old, database):
    url = old("state", "shared")
    with FactStore(url) as facts:
        facts.write("prod", {"managers": Answer({})}, NOON)
    Store(url).close()

    with State(url) as state, FactStore(url) as facts, Store(url) as store, store.reading() as transaction:
        assert (state.facts().records, facts.clusters(), audit.head(transaction).sequence) == (3, ["prod"], 0)


# whatever happens meanwhile


@every_owner
def test_two_programs_that_open_an_old_database_at_once_both_go_on(owner, old):
    url = old(owner.dump)
    module, name = owner.where.split()
    code = f"import sys; from {module} import {name}; print('ready', flush=True); input(); {name}(sys.argv[1]).close()"

    started = [program(code, url) for _ in range(2)]
    for each in started:
        assert each.stdout.readline() == "ready\n"
    for each in started:
        each.stdin.write("\n")
        each.stdin.flush()
    for each in started:
        each.communicate(timeout=240)

    assert [each.returncode for each in started] == [0, 0]
    assert rows(url)[owner.revisions.table] == [f"{{'version_num': '{owner.revisions.latest}'}}"]


@every_owner
def test_a_kill_in_the_middle_of_an_upgrade_leaves_the_old_database_which_the_next_program_upgrades(owner, old):
    url = old(owner.dump)
    before, module, name = rows(url), *owner.where.split()
    code = (
        f"import os, sys; from alembic import command, op; from {module} import {name}\n"
        f"def die(*_): print('in the middle', flush=True); os.kill(os.getpid(), {signal.SIGKILL:d})\n"
        f"{owner.stop} = die\n"
        f"{name}(sys.argv[1])"
    )

    killed = program(code, url)
    said, _ = killed.communicate(timeout=240)

    assert (killed.returncode, said) == (-signal.SIGKILL, "in the middle\n")
    assert rows(url) == before
    owner.opened(url).close()
    assert rows(url)[owner.revisions.table] == [f"{{'version_num': '{owner.revisions.latest}'}}"]


def test_threads_of_one_program_upgrade_different_databases_at_once(old, database):
    urls = [(owner, old(owner.dump, f"{owner}{number}")) for owner in (STATE, FACTS, STORE) for number in range(3)]
    urls += [(owner, database(f"new{owner}")) for owner in (STATE, FACTS, STORE)]

    with ThreadPoolExecutor(len(urls)) as threads:
        for opened in list(threads.map(lambda each: each[0].opened(each[1]), urls)):
            opened.close()

    found = [rows(url)[owner.revisions.table] for owner, url in urls]
    assert found == [[f"{{'version_num': '{owner.revisions.latest}'}}"] for owner, _ in urls]


@every_owner
def test_a_database_of_a_later_release_is_refused_by_name_with_the_way_out(owner, database):
    url = database("later")
    owner.opened(url).close()
    engine = databases.engine(databases.parsed(url, "test"))
    with engine.begin() as transaction:
        transaction.execute(text(f"UPDATE {owner.revisions.table} SET version_num = '99'"))
    engine.dispose()
    before = rows(url)

    latest = owner.revisions.latest
    sentence = rf"of version 99, this release reads version {latest}: use the release that made it or a newer one"
    with pytest.raises(owner.error, match=sentence) as raised:
        owner.opened(url)

    assert databases.shown(databases.parsed(url, "test")) in str(raised.value)
    assert type(raised.value.__cause__) is VersionError
    assert rows(url) == before


# looking only


def without_writing(url):
    """Return the address by which the database at *url* cannot be written."""
    if url.startswith("sqlite"):
        return f"sqlite:///file:{url.removeprefix('sqlite:///')}?mode=ro&uri=true"
    return f"{url}%20-cdefault_transaction_read_only%3Don"


@every_owner
def test_an_old_database_that_may_not_be_written_is_not_upgraded_and_the_error_says_so(owner, old):
    url = old(owner.dump)
    before = rows(url)

    latest = owner.revisions.latest
    sentence = rf"is of version 1, this release reads version {latest} and cannot upgrade it: .*read-?only.*: run it as"
    with pytest.raises(owner.error, match=sentence) as raised:
        owner.opened(without_writing(url))

    assert isinstance(raised.value.__cause__, NotUpgraded)
    assert rows(url) == before


def test_a_database_that_may_not_be_written_is_read(old, database):
    for owner in (STATE, FACTS, STORE):
        owner.opened(old(owner.dump)).close()

    with State(without_writing(database("state"))) as state:
        assert state.facts().records == 3
    with FactStore(without_writing(database("facts"))) as facts:
        assert facts.clusters() == ["prod", "test"]
    with Store(without_writing(database("store_of_first_release"))) as store, store.reading() as transaction:
        assert audit.head(transaction).sequence == 3


def test_the_doctor_looks_at_old_databases_and_upgrades_none(old):
    state, store = old("state"), old("store_of_first_release")
    before = rows(state), rows(store)

    found = [*doctor.store(store), *doctor.state(state)]

    advice = ["`clusterbus consume` upgrades it", "`clusterbus router` upgrades it"]
    assert [(each.verdict, each.advice) for each in found] == [("warning", each) for each in advice]
    assert [each.seen.partition(" is of ")[2] for each in found] == [
        f"version 1, this release reads version {STORE.revisions.latest}",
        f"version 1, this release reads version {STATE.revisions.latest}",
    ]
    assert (rows(state), rows(store)) == before


# each opening


def test_an_opening_without_an_upgrade_does_not_import_alembic(old):
    urls = [old(owner.dump) for owner in (STATE, FACTS, STORE)]
    for owner, url in zip((STATE, FACTS, STORE), urls, strict=True):
        owner.opened(url).close()
    code = (
        "import sys; from consumers.store.database import Store; from router.pipeline.state import State\n"
        "from router.cluster.facts.facts_store import FactStore\n"
        "for opened, url in zip((State, FactStore, Store), sys.argv[1:]): opened(url).close()\n"
        "print('alembic' in sys.modules)"
    )

    said, _ = program(code, *urls).communicate(timeout=240)

    assert said == "False\n"


@every_owner
def test_an_upgrade_is_logged_once_and_alembic_says_nothing(owner, old, caplog):
    caplog.set_level(logging.INFO)
    url = old(owner.dump)

    owner.opened(url).close()
    owner.opened(url).close()

    assert [each.message for each in caplog.records] == ["database upgraded"]
