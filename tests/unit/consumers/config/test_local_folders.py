"""Settings whose folders are on a file system of the network, and databases that cannot be opened."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from consumers.config import local_folders
from consumers.inspection.doctor import examination
from consumers.subscriptions.validation import check
from router import database, database_urls, network_folders
from router.errors import BrokerError
from router.model.catalogue import Catalogues
from router.settings.models import Settings

SETTINGS = {
    "shim": {"spool": "/gpfs/fs1/spool"},
    "router": {"state": "sqlite:////gpfs/fs1/router.db"},
    "facts": {"store": "postgresql://db/facts"},
    "consumers": {
        "store": "sqlite:////var/lib/clusterbus/store.db",
        "jobs": "/gpfs/fs1/jobs",
        "callbacks": "/gpfs/fs1/callbacks",
        "handlers": ["/etc/clusterbus/handlers", "/gpfs/fs1/handlers"],
    },
}


@pytest.fixture
def on_gpfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("22 1 259:1 / / rw - ext4 /dev/root rw\n40 22 0:40 / /gpfs/fs1 rw - gpfs fs1 rw\n")
    monkeypatch.setattr(network_folders, "MOUNTS", mounts)


@pytest.mark.usefixtures("on_gpfs")
def test_each_setting_on_gpfs_is_named() -> None:
    found = dict(local_folders.warnings(Settings.model_validate(SETTINGS)))

    assert set(found) == {"shim.spool", "router.state", "consumers.jobs", "consumers.callbacks", "consumers.handlers"}
    assert found["consumers.handlers"].startswith("/gpfs/fs1/handlers is on gpfs, a file system of the network")


@pytest.mark.usefixtures("on_gpfs")
def test_check_warns_of_settings_scripts_and_log_files(tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.yaml"
    file.write_text(
        "version: 1\nsubscriptions:\n"
        "  - {name: a, on: quota, scripts: {folders: /gpfs/fs1/scripts}}\n"
        "  - {name: b, on: quota, log: {file: /gpfs/fs1/events.jsonl}}\n"
    )

    report = check(file, Catalogues.shipped(), Settings.model_validate(SETTINGS))

    fields = {each.field for each in report.warnings if "a file system of the network" in each.message}
    assert {"scripts.folders.1", "log.file", "shim.spool", "consumers.jobs"} <= fields
    assert report.subscriptions is not None


@pytest.mark.parametrize("setting", ["router.state", "facts.store", "consumers.store"])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/tmp/x.sqlite", "is not a database URL: write sqlite:////tmp/x.sqlite"),
        ("sqlite:/tmp/x.db", "is not a database URL: write sqlite:////tmp/x.db"),
        ("store.sqlite", "is not a database URL: write one like sqlite:////var/lib/clusterbus/NAME.db"),
        ("", "is not a database URL"),
        ("sqlite://var/lib/x.db", "names a host, which SQLite does not have"),
        ("postgres://h/db", "the database postgres is not supported: write sqlite"),
        ("mysql://h/db", "the database mysql is not supported"),
        ("postgresql+none://h/db", "the driver none is not supported: write postgresql://"),
        ("postgresql://h:port/db", "is not a database URL"),
        ("postgresql://h:65536/db", "names the port 65536, and the largest is 65535"),
        ("sqlite:////no-such-folder/x.db", "the folder /no-such-folder does not exist: create it"),
        ("sqlite:////tmp", "/tmp is a folder: name a file in it"),
    ],
)
def test_check_says_which_databases_cannot_be_opened(setting: str, url: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.yaml"
    file.write_text("version: 1\nsubscriptions: []\n")
    section, _, field = setting.partition(".")

    (fault,) = check(file, Catalogues.shipped(), Settings.model_validate({section: {field: url}})).faults

    assert str(fault).startswith(f"settings: {setting}: {said}")


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///x.db", "x.db"),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("sqlite+pysqlite:////tmp/x%20y.db?timeout=5", "/tmp/x y.db"),
        ("postgresql://h/db", None),
        ("postgresql:///db?host=/run", None),
        ("postgresql+psycopg://u:p/w@[::1]:5432/db", None),
        ("postgresql://", None),
    ],
)
def test_a_database_that_can_be_opened_is_accepted_as_sqlalchemy_reads_it(url: str, file: str | None) -> None:
    settings = Settings.model_validate({"consumers": {"store": url}})

    assert not [*local_folders.mistakes(settings)]
    assert database_urls.file(url) == (Path(file) if file else None)
    engine = database.engine(database.parsed(url, "consumers.store"))
    assert file in (None, engine.url.database)


def test_doctor_names_the_setting_of_a_database_that_cannot_be_opened() -> None:
    urls = {"router": {"state": "/tmp/x.sqlite"}, "consumers": {"store": "sqlite:////no-such-folder/x.db"}}

    found = [
        *examination.examine(
            Settings.model_validate(urls), None, Mock(side_effect=BrokerError("is down")), {"router", "store"}
        )
    ]

    assert [
        (each.part, each.verdict, each.seen.partition(":")[0])
        for each in found
        if "database URL" in each.seen or "folder" in each.seen
    ] == [
        ("router", "error", "router.state"),
        ("store", "error", "consumers.store"),
    ]


def test_a_default_is_not_judged_where_nobody_has_set_it() -> None:
    assert not [*local_folders.mistakes(Settings())]
