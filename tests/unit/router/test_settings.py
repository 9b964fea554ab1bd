"""Settings: which layer wins, where each value came from, and what mistakes are told."""

from datetime import timedelta
from pathlib import Path

import pytest

from router.errors import SettingsError
from router.settings import load

NOWHERE = Path("/nonexistent/clusterbus.yaml")


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_later_layers_win_and_each_value_knows_its_origin(tmp_path: Path) -> None:
    system = written(tmp_path, "system.yaml", "router: {window: 1m, silence: 1m, keep: 1d}\n")
    given = written(tmp_path, "given.yaml", "router: {window: 2m, silence: 2m}\n")

    loaded = load(
        given,
        system=system,
        environment={"CLUSTERBUS_ROUTER_SILENCE": "4m", "CLUSTERBUS_BROKER": "amqp://a@one/ amqp://a@two/"},
        options={"broker.url": None, "consumers.store": "sqlite:///x.db"},
    )

    router = loaded.settings.router
    assert (router.window, router.silence, router.keep) == (
        timedelta(minutes=2),
        timedelta(minutes=4),
        timedelta(days=1),
    )
    assert loaded.settings.broker.url == ("amqp://a@one/", "amqp://a@two/")
    origins = {name: origin for name, _, origin in loaded.rows()}
    assert origins["router.window"] == str(given)
    assert origins["router.silence"] == "CLUSTERBUS_ROUTER_SILENCE"
    assert origins["router.keep"] == str(system)
    assert origins["consumers.store"] == "option"
    assert origins["consumers.subscriptions"] == "default"


def test_all_mistakes_are_told_at_once_with_place_value_and_way_out(tmp_path: Path) -> None:
    file = written(tmp_path, "bad.yaml", "broker: {ulr: amqp://x/}\nrouter: {window: 90}\nrooter: {window: 1s}\n")

    with pytest.raises(SettingsError) as caught:
        load(file, system=NOWHERE, environment={})

    told = str(caught.value)
    assert f"{file}: broker.ulr: unknown setting; did you mean url?" in told
    assert f"{file}: rooter: unknown setting; did you mean router?" in told
    assert "router.window: '90' is no duration" in told
    assert len(told.splitlines()) == 3


@pytest.mark.parametrize("text", ["- a list\n", "broker: 7\n", "broker: {url: [\n"])
def test_a_file_that_is_no_settings_names_itself(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, "bad.yaml", text)

    with pytest.raises(SettingsError, match=r"bad\.yaml"):
        load(file, system=NOWHERE, environment={})


def test_a_settings_file_that_is_not_there_is_an_error_but_the_systems_need_not_be(tmp_path: Path) -> None:
    assert load(system=NOWHERE, environment={}).origins == {}

    with pytest.raises(SettingsError, match=r"given\.yaml"):
        load(tmp_path / "given.yaml", system=NOWHERE, environment={})


def test_a_password_is_taken_from_its_file_and_never_shown(tmp_path: Path) -> None:
    secret = written(tmp_path, "password", "pa/ss@word\n")

    loaded = load(
        system=NOWHERE,
        environment={"CLUSTERBUS_BROKER": "amqp://u:s3cret@mq/v", "CLUSTERBUS_BROKER_PASSWORD_FILE": str(secret)},
    )

    assert loaded.settings.broker.urls() == ("amqp://u:pa%2Fss%40word@mq/v",)
    shown = " ".join(value for _, value, _ in loaded.rows())
    assert "s3cret" not in shown
    assert "pa/ss" not in shown


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    loaded = load(system=NOWHERE, environment={"CLUSTERBUS_BROKER_PASSWORD_FILE": str(tmp_path / "none")})

    with pytest.raises(SettingsError, match=r"broker\.password_file: .*none"):
        loaded.settings.broker.urls()
