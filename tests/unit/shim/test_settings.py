"""Settings: which layer wins, and mistakes that are named with their place and the way out."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from pika.credentials import ExternalCredentials

from shim.connection import parameters
from shim.settings import OPTIONS, Settings, SettingsError, load

NEEDED = ("--allow-root", "--cluster", "prod", "--broker", "amqp://guest:guest@127.0.0.1")


def loaded(*options: str, environment: dict[str, str] | None = None) -> Settings:
    return load([*NEEDED, *options], {"CLUSTERBUS_RELAY_CONFIG": "", **(environment or {})})


def test_an_option_goes_before_the_environment_that_before_the_file_that_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / "relay.conf"
    file.write_text("[relay]\nwindow = 10\nlinger = 10\nheartbeat = 10\n")
    environment = {"CLUSTERBUS_RELAY_LINGER": "20", "CLUSTERBUS_RELAY_HEARTBEAT": "20"}

    settings = loaded("--config", str(file), "--heartbeat", "30", environment=environment)

    assert settings.window == 10
    assert settings.linger == timedelta(seconds=20)
    assert settings.heartbeat == timedelta(seconds=30)
    assert settings.progress_limit == timedelta(seconds=30)


def test_several_brokers_come_from_options_or_from_one_text_with_blanks() -> None:
    by_option = loaded("--broker", "amqp://guest:guest@localhost:1")
    by_environment = load(
        ["--allow-root", "--cluster", "prod"],
        {"CLUSTERBUS_RELAY_BROKER": "amqp://a:b@127.0.0.1/%2F  amqp://a:b@[::1]:7/x"},
    )

    assert [each.port for each in by_option.brokers] == [5672, 1]
    assert [(each.host, each.vhost) for each in by_environment.brokers] == [("127.0.0.1", "/"), ("::1", "x")]


def test_the_node_is_the_one_that_capture_would_write() -> None:
    assert loaded("--node", "NSD_01.example").node == "nsd-01-example"


def test_a_broker_without_a_user_is_for_the_user_of_the_node(tmp_path: Path) -> None:
    secret = tmp_path / "secret"

    settings = loaded("--node", "nsd01", "--password-file", str(secret), "--broker", "amqps://broker.example")

    assert settings.brokers[1].user == "nsd01"
    assert settings.brokers[1].secure


def test_a_url_goes_before_the_settings_that_say_the_same() -> None:
    own = "?cacertfile=/own/ca&certfile=/own/cert&keyfile=/own/key&server_name_indication=mq"
    shared = ("--ca", "/ca", "--certificate", "/cert", "--key", "/key")

    _, one, two, three = loaded(
        *shared, "--broker", f"amqps://mq1{own}", "--broker", "amqps://mq2", "--broker", "amqps://mq3?certfile=/all"
    ).brokers

    assert (one.ca, one.certificate, one.key, one.server_name) == ("/own/ca", "/own/cert", "/own/key", "mq")
    assert (two.ca, two.certificate, two.key, two.server_name) == ("/ca", "/cert", "/key", None)
    assert (three.ca, three.certificate, three.key) == ("/ca", "/all", None)
    assert [each.external for each in (one, two, three)] == [True, True, True]


def test_a_certificate_logs_in_only_without_a_password_or_where_the_url_says_so(tmp_path: Path) -> None:
    urls = ("amqps://mq1?certfile=/c&keyfile=/k", "amqps://mq2?certfile=/c&auth_mechanism=external")

    _, by_password, by_certificate = loaded(
        "--password-file", str(tmp_path / "password"), "--broker", urls[0], "--broker", urls[1]
    ).brokers

    assert (by_password.external, by_certificate.external) == (False, True)


def test_what_a_url_says_of_the_connection_is_what_pika_gets() -> None:
    settings = loaded("--broker", "amqps://mq1:7/bus?server_name_indication=mq&auth_mechanism=external")

    found = parameters(settings.brokers[1], settings)

    assert (found.host, found.port, found.virtual_host) == ("mq1", 7, "bus")
    assert found.ssl_options.server_hostname == "mq"
    assert isinstance(found.credentials, ExternalCredentials)


def test_a_password_is_the_first_line_of_its_file_whatever_else_unicode_takes_for_a_line_end(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    settings = loaded("--password-file", str(secret), "--broker", "amqps://mq1")

    secret.write_text("one\u2028two\x0cthree\x85\nanother line\n", encoding="utf-8")
    secret.chmod(0o600)
    assert parameters(settings.brokers[1], settings).credentials.password == "one\u2028two\x0cthree\x85"

    secret.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="is empty: write the password on its first line"):
        parameters(settings.brokers[1], settings)


def test_a_password_is_never_shown() -> None:
    settings = loaded("--broker", "amqp://guest:hunter2@127.0.0.1")

    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--broker", "amqp://a:hunter2@broker.example"), "password-file"),
        (("--broker", "amqp://a@broker.example"), "nothing to log in with"),
        (("--broker", "http://a:b@127.0.0.1"), "is not amqp://USER"),
        (("--broker", "amqp://a:hunter2@127.0.0.1:port"), "is not a URL"),
        (("--broker", "amqp://a:hunter2@127.0.0.1/?heartbeat=1"), "unknown option 'heartbeat'; there are cacertfile"),
        (("--broker", "amqp://mq1", "--certificate", "/c", "--key", "/k"), "nothing to log in with"),
        (("--broker", "amqps://mq1"), "nothing to log in with"),
        (("--cluster", "a.b"), "'a.b'"),
        (("--window", "0"), "from 1 to 5000"),
        (("--window", "many"), "'many'"),
        (("--rescan", "nan"), "'nan'"),
        (("--progress-limit", "inf"), "'inf'"),
        (("--certificate", "x"), "key"),
        (("--config", "/nonexistent/relay.conf"), "/nonexistent/relay.conf"),
    ],
)
def test_a_mistake_is_told_with_the_way_out_and_without_the_password(options: tuple[str, ...], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        loaded(*options)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["windov = 5", "[relay]\nwindov = 5\n", "[relais]\n", "[relay]\nx\n", "\x00"])
def test_a_file_with_a_mistake_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "relay.conf"
    file.write_text(text)

    with pytest.raises(SettingsError, match=str(file)):
        loaded("--config", str(file))


def test_it_does_not_run_as_root_unless_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)

    with pytest.raises(SettingsError, match="root"):
        load([each for each in NEEDED if each != "--allow-root"], {})


def test_the_example_file_can_be_used_as_it_is() -> None:
    example = Path(__file__).parents[3] / "shim" / "units" / "relay.conf"

    settings = load(["--allow-root", "--config", str(example)], {})

    assert [each.host for each in settings.brokers] == ["mq1.example", "mq2.example"]
    assert settings.cluster == "prod"


def test_the_example_file_shows_every_setting_with_its_default() -> None:
    example = (Path(__file__).parents[3] / "shim" / "units" / "relay.conf").read_text()

    for name, (default, _) in OPTIONS.items():
        if name != "run":
            assert re.search(rf"^(# )?{name} =( {re.escape(default)}$)?", example, re.MULTILINE), name


def test_an_unknown_setting_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "relay.conf").write_text("[relay]\nwindov = 5\n")

    with pytest.raises(SettingsError, match=r"unknown setting 'windov'; did you mean window\?"):
        loaded("--config", str(tmp_path / "relay.conf"))
