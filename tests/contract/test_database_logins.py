"""Logging in to PostgreSQL: passwords by reference, and what is said of a login that the server refuses."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from consumers.config import local_folders
from consumers.errors import StoreError
from consumers.inspection.doctor import databases as doctor
from consumers.store.database import Store
from router import database_urls, redaction
from router.cluster.facts.facts_store import FactStore
from router.errors import SettingsError, StateError
from router.pipeline.state import State
from router.settings.models import Settings
from tests import postgres
from tests.operating import invoke
from tests.waiting import wait_for

WORD = "hunter22xyz"


@pytest.fixture
def login(postgresql: postgres.Server) -> Iterator[str]:
    """The name of a user that needs the password WORD, at the server that asks no other user for one."""
    name = f"u{uuid4().hex[:12]}"
    hba = postgresql.folder / "data" / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text(f"local all {name} scram-sha-256\n{before}")
    postgresql.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{WORD}'")
    postgresql.execute("SELECT pg_reload_conf()")
    address = f"postgresql://{name}@/postgres?host={postgresql.folder}"
    try:
        wait_for(lambda: refuses(f"{address}&password=wrong"), 30, "the server asks for the password")
        with postgresql.schema() as schema:
            yield f"{schema.replace('://me@', f'://{name}@')}"
    finally:
        hba.write_text(before)
        postgresql.execute("SELECT pg_reload_conf()")
        postgresql.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def refuses(url: str) -> bool:
    try:
        State(url, upgrade=False).close()
    except StateError as error:
        return "refuses the login" in str(error)
    return False


def test_each_database_takes_its_password_from_a_file(login: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{WORD}\n")
    file.chmod(0o600)
    url = f"{login}&password=file:{file}"

    with State(url) as state, Store(url), FactStore(url):
        assert state.facts().records == 0
        shown = state.name

    assert f"password=file:{file}" in shown
    assert redaction.url(url).endswith(f"&password=file:{file}")


def test_a_password_comes_from_the_environment(login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_WORD", WORD)

    with State(f"{login}&password=env:DATABASE_WORD") as state:
        assert state.facts().records == 0


def test_a_password_that_was_replaced_is_used_for_the_next_connection(
    login: str, tmp_path: Path, postgresql: postgres.Server
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{WORD}\n")
    file.chmod(0o600)
    with State(f"{login}&password=file:{file}") as state:
        postgresql.execute(f"ALTER ROLE {login.partition('://')[2].partition('@')[0]} PASSWORD 'hunter33xyz'")
        file.write_text("hunter33xyz\n")
        postgresql.disconnect()

        assert state.facts().records == 0

        file.unlink()
        postgresql.disconnect()
        with pytest.raises(StateError, match=r"router\.state: .*password: No such file"):
            state.facts()


def test_a_refused_login_is_named_as_one_and_doctors_advice_is_about_it(login: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong-word-1\n")
    file.chmod(0o600)
    url = f"{login}&password=file:{file}"

    with pytest.raises(StateError, match=r"the database refuses the login: .*password authentication failed"):
        State(url)
    (found,) = doctor.store(url)

    assert found.verdict == "error"
    assert "consumers.store postgresql://" in found.seen
    assert "the database refuses the login: " in found.seen
    assert found.advice == "check the user in consumers.store and its password, and pg_hba.conf of the database"
    assert "wrong-word-1" not in found.seen


def test_a_database_that_does_not_answer_is_not_told_to_be_full(tmp_path: Path) -> None:
    (found,) = doctor.state(f"postgresql://me@/postgres?host={tmp_path}")

    assert found.advice == "check that the database runs and has room, and that this machine can connect to it"


def test_the_advice_about_a_file_stays_that_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(os.urandom(4096))

    *_, found = doctor.store(f"sqlite:///{tmp_path / 'store.db'}")

    assert found.advice == "check the space on its disk, and its owner and mode"


@pytest.mark.parametrize("opened", [State, Store, FactStore])
def test_a_password_file_that_cannot_be_read_is_named_with_its_setting(opened: type, tmp_path: Path) -> None:
    url = f"postgresql://me@db/bus?password=file:{tmp_path / 'none'}"

    with pytest.raises((SettingsError, StoreError), match=rf"^{opened.setting}: {tmp_path}/none: No such file"):
        opened(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql://me@db/bus?password=file:secret",
            "password= is not a reference: write password=file:/absolute/path or password=env:NAME",
        ),
        ("postgresql://me:word@db/bus?password=env:WORD", "has two passwords: omit the one before the @"),
        (f"postgresql://me@db/bus?password={quote('file:/a/b', safe='')}", ""),
        ("postgresql://me@db/bus?password=env:WORD&sslmode=require", ""),
    ],
)
def test_what_is_no_reference_is_a_mistake_in_the_setting(url: str, said: str) -> None:
    assert database_urls.mistake(url) == said


@pytest.mark.parametrize(
    ("url", "is_named"),
    [
        ("postgresql://me:word@db/bus", True),
        ("postgresql://me@db/bus?password=word", True),
        ("postgresql://me@db/bus?password=file:/a/b", False),
        ("postgresql://me@db/bus", False),
        ("sqlite:////tmp/x.db", False),
    ],
)
def test_check_warns_of_a_password_in_a_url(url: str, is_named: bool) -> None:
    settings = Settings.model_validate({"facts": {"store": url}})

    found = dict(local_folders.warnings(settings)).get("facts.store", "")

    assert found.startswith("holds its password") is is_named


def test_settings_show_the_reference() -> None:
    url = "postgresql://me@db/bus?password=file:/etc/clusterbus/secrets/databases/me/password"

    _, output = invoke({"CLUSTERBUS_ROUTER_STATE": url}, "settings")

    assert url in output
