"""What follows from the facts about a site: files that are valid whatever the facts are, and what is refused."""

import ssl
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.new_site import facts_to_ask, file_writing, next_steps, site_files
from consumers.new_site.facts_to_ask import QUESTIONS, Site
from consumers.new_site.site_files import SiteFile
from router.cluster.nodes import relay_settings
from router.errors import SettingsError
from router.settings import loading
from router.settings.models import Settings

SYSTEM = loading.SYSTEM_FILE.parent
FACTS = {"cluster": "prod", "broker": "mq1 mq2:5000"}


def made(**facts: str) -> Site:
    """Return the site with *facts*, each checked as the command does."""
    given_ = FACTS | facts
    return facts_to_ask.site({each.name: each.check(given_[each.name]) for each in QUESTIONS if each.name in given_})


def loaded(folder: Path, site: Site, tmp_path: Path) -> Settings:
    file = tmp_path / "clusterbus.yaml"
    file.write_text(site_files.as_yaml(site_files.settings(folder, site)))
    return loading.load(file, environment={}, system=tmp_path / "none").settings


def test_each_program_has_its_login_and_nodes_get_the_brokers_without_a_user(tmp_path: Path) -> None:
    settings = loaded(SYSTEM, made(ca="/srv/ca.pem"), tmp_path)

    assert settings.broker.url == (
        "amqps://clusterbus-operator@mq1/clusterbus?cacertfile=/etc/clusterbus/ca.pem",
        "amqps://clusterbus-operator@mq2:5000/clusterbus?cacertfile=/etc/clusterbus/ca.pem",
    )
    users = Path("/etc/clusterbus/secrets/users")
    assert settings.broker.password_file == users / "clusterbus-operator" / "password"
    assert settings.router.broker.user == "clusterbus-router"
    assert settings.router.broker.password_file == users / "clusterbus-router" / "password"
    assert settings.consumers.broker.user == "clusterbus-consumer"
    relay = relay_settings.checked(settings.nodes.relay)
    assert relay == {"cluster": "prod", "broker": "amqps://mq1/clusterbus amqps://mq2:5000/clusterbus"}
    assert settings.facts.cluster == "prod"


def test_what_has_its_default_is_not_written_for_the_systems_folder() -> None:
    found = site_files.settings(SYSTEM, made())

    assert set(found) == {"broker", "router", "consumers", "nodes", "facts"}
    assert set(found["broker"]) == {"url", "password_file"}
    assert set(found["router"]) == {"broker", "trusted_users"}
    assert set(found["nodes"]) == {"relay"}


def test_another_folder_holds_all_of_its_site(tmp_path: Path) -> None:
    folder = tmp_path / "site"

    settings = loaded(folder, made(), tmp_path)

    places = [
        settings.broker.secrets,
        settings.nodes.secrets,
        settings.consumers.subscriptions,
        settings.consumers.jobs,
        settings.consumers.callbacks,
        settings.consumers.recorded,
        settings.gpfs.memory,
        *settings.consumers.handlers,
    ]
    assert [each for each in places if not each.is_relative_to(folder)] == []
    for url in (settings.router.state, settings.consumers.store, settings.facts.store):
        assert url.startswith(f"sqlite:///{folder}/state/")


def test_each_program_has_its_own_user_and_database_at_postgresql(tmp_path: Path) -> None:
    settings = loaded(SYSTEM, made(database="postgresql://db1:5433", ca="/srv/ca.pem", hub="hub1 hub2"), tmp_path)

    for url, user in ((settings.router.state, "clusterbus-router"), (settings.consumers.store, "clusterbus-consumer")):
        assert url == (
            f"postgresql://{user}@db1:5433/{user}?sslmode=verify-full&sslrootcert=/etc/clusterbus/ca.pem"
            f"&password=file:/etc/clusterbus/secrets/databases/{user}/password"
        )


def test_nodes_are_reached_as_the_user_that_was_named(tmp_path: Path) -> None:
    settings = loaded(SYSTEM, made(login="deploy"), tmp_path)

    assert settings.nodes.ssh_options == ("-l", "deploy")
    assert settings.nodes.become == ("sudo", "-n")


def test_the_management_api_is_trusted_by_the_sites_ca_and_its_password_is_in_a_file(tmp_path: Path) -> None:
    settings = loaded(SYSTEM, made(management="https://admin@mq1:15671", ca="/srv/ca.pem"), tmp_path)

    assert settings.broker.management == "https://admin@mq1:15671?cacertfile=/etc/clusterbus/ca.pem"
    assert settings.broker.management_password_file == Path("/etc/clusterbus/secrets/administrator")


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("cluster", "prod.example", "use only A-Z a-z 0-9 _ -"),
        ("broker", "mq1 amqp://mq2", "'amqp://mq2' is not a host name"),
        ("broker", "mq1:99999", "is not"),
        ("broker", "  ", "name at least one host"),
        ("management", "https://admin:word@mq1:15671", "without a password"),
        ("management", "mq1", "write https://ADMINISTRATOR@HOST:15671"),
        ("login", "-oProxyCommand=x", "is not the name of a user"),
        ("database", "mysql://db", "the database mysql is not supported"),
        ("database", "sqlite:////x.db", "write postgresql://HOST, or nothing for SQLite"),
        ("database", "postgresql://me:word@db", "name no user and no password"),
        ("database", "postgresql://db/bus", "name no database"),
        ("database", "postgresql://", "is not a host name"),
        ("database", "postgresql://db1:99999", "port"),
        ("management", "https://admin@mq1:99999", "with a port from 1 to 65535"),
        ("management", "https://admin@mq1:abc", "is not a host name"),
        ("mail", "nobody", "is not a mail address"),
        ("mail_server", "m1 m2", "'m1 m2' is not a host name"),
        ("mail_server", "m1:0", "with a port from 1 to 65535"),
    ],
)
def test_a_fact_that_cannot_be_is_refused_with_what_to_write(fact: str, value: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(**{fact: value})


def test_two_hubs_need_one_database() -> None:
    with pytest.raises(ValueError, match="2 hubs need --database postgresql://HOST"):
        made(hub="hub1 hub2")


NAMES = st.from_regex(r"\A[A-Za-z0-9_-]{1,100}\Z")
HOSTS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9.-]{0,30}(:[1-9][0-9]{3})?\Z")


@pytest.mark.thorough
@given(cluster=NAMES, broker=st.lists(HOSTS, min_size=1, max_size=3), mail=st.sampled_from(["", "a@example.com"]))
def test_whatever_the_facts_are_the_settings_say_them(
    tmp_path_factory: pytest.TempPathFactory, cluster: str, broker: list[str], mail: str
) -> None:
    site = made(cluster=cluster, broker=" ".join(broker), mail=mail)

    settings = loaded(SYSTEM, site, tmp_path_factory.mktemp("site"))

    assert settings.facts.cluster == settings.nodes.relay["cluster"] == cluster
    assert len(settings.broker.url) == len(site.broker)
    assert bool(settings.consumers.contacts) is bool(mail)


def test_a_file_without_certificates_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate\n")

    for file, said in ((tmp_path / "ca.pem", "holds no certificates"), (tmp_path / "none.pem", "No such file")):
        with pytest.raises(ValueError, match=said):
            site_files.files(tmp_path / "site", made(ca=str(file)))


def test_the_ca_goes_to_the_programs_and_to_the_nodes(tmp_path: Path, ca: Path) -> None:
    files = site_files.files(tmp_path, made(ca=str(ca)))

    assert [str(each.path.relative_to(tmp_path)) for each in files] == [
        "ca.pem",
        "secrets/nodes/ca.pem",
        "subscriptions.yaml",
        "clusterbus.yaml",
    ]
    assert files[0].content == files[1].content == ca.read_bytes()


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """A file of certificates: one that this machine trusts."""
    trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not trusted:
        pytest.skip("this machine trusts nobody")
    file = tmp_path / "their.pem"
    file.write_text(ssl.DER_cert_to_PEM_cert(trusted[0]))
    return file


def test_a_file_is_written_for_all_to_read_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = SiteFile(tmp_path / "etc" / "clusterbus" / "clusterbus.yaml", b"text")

    before = file_writing.standing(file)
    file_writing.write(file, replace=False)

    assert (before, file_writing.standing(file)) == ("new", "same")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o644
    assert [stat.S_IMODE(each.stat().st_mode) for each in (file.path.parent, file.path.parents[1])] == [0o755] * 2
    assert [each.name for each in file.path.parent.iterdir()] == ["clusterbus.yaml"]


def test_another_file_is_replaced_only_if_told(tmp_path: Path) -> None:
    file = SiteFile(tmp_path / "clusterbus.yaml", b"new\n")
    file.path.write_bytes(b"old\n")

    with pytest.raises(SettingsError, match=r"clusterbus\.yaml: cannot be written: File exists"):
        file_writing.write(file, replace=False)
    assert file.path.read_bytes() == b"old\n"
    assert file_writing.changes(file).splitlines()[-2:] == ["-old", "+new"]

    file_writing.write(file, replace=True)
    assert file.path.read_bytes() == b"new\n"
    assert [each.name for each in tmp_path.iterdir()] == ["clusterbus.yaml"]


def test_what_is_next_names_each_hub_and_each_database() -> None:
    site = made(hub="hub1 hub2", database="postgresql://db1", management="https://admin@mq1:15671")

    text = next_steps.steps(SYSTEM, site)

    lines = text.splitlines()
    assert "install -m 0600 /dev/stdin /etc/clusterbus/secrets/administrator" in lines
    assert "for hub in hub1 hub2; do" in lines
    assert "createdb --owner clusterbus-consumer clusterbus-consumer" in lines
    order = ["broker users --apply", "broker setup", "nodes deploy", "callbacks plan", "callbacks apply", "doctor"]
    ours = [each.removeprefix("clusterbus ") for each in lines if each.startswith("clusterbus ")]
    assert ours == order
