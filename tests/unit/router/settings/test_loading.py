"""Settings: which layer wins, where each value comes from, and what is said of mistakes."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from router.errors import SettingsError
from router.settings.loading import load
from router.settings.models import Settings
from router.settings.yaml_documents import dotted

SECRET = "hunter22xyz"
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


def test_all_mistakes_are_named_at_once_with_place_value_and_way_out(tmp_path: Path) -> None:
    file = written(tmp_path, "bad.yaml", "broker: {ulr: amqp://x/}\nrouter: {window: 90}\nrooter: {window: 1s}\n")

    with pytest.raises(SettingsError) as caught:
        load(file, system=NOWHERE, environment={})

    told = str(caught.value)
    assert f"{file}:1: broker.ulr: unknown setting; did you mean url?" in told
    assert f"{file}:3: rooter: unknown setting; did you mean router?" in told
    assert f"{file}:2: router.window: '90' is not a duration" in told
    assert len(told.splitlines()) == 3


@pytest.mark.parametrize("variable", ["CLUSTERBUS_BROKER", "CLUSTERBUS_BROKER_CONTROL"])
def test_what_has_to_be_named_cannot_be_blank(variable: str) -> None:
    with pytest.raises(SettingsError, match=rf"{variable}: broker\.(url|control): must not be empty"):
        load(system=NOWHERE, environment={variable: " "})


def test_the_words_of_a_password_file_are_not_repeated_where_it_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"s3cret\xff")
    (tmp_path / "password").chmod(0o600)
    loaded = load(system=NOWHERE, environment={"CLUSTERBUS_BROKER_PASSWORD_FILE": str(tmp_path / "password")})

    with pytest.raises(SettingsError, match=r"broker\.password_file: .*password is not UTF-8 text$") as caught:
        loaded.settings.broker.urls()
    assert "s3cret" not in str(caught.value)


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
    secret.chmod(0o600)

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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "router: {window: 1m}\n\nconsumers: {ssh: a}\nrouter: {keep: 1d}\n",
            "4: router: appears twice, first on line 1",
        ),
        ("broker:\n  prefix: a\n  prefix: b\n", "3: broker.prefix: appears twice, first on line 2"),
        ("router:\n\twindow: 1m\n", "2: a tab at column 1: use spaces, not tabs, in YAML"),
        (
            "shim: &x {spool: /a}\nbroker:\n  <<: *x\n",
            "3: broker: merge keys (<<) are not YAML 1.2: write the fields out",
        ),
        ("nodes:\n  relay:\n    cluster: 0123\n", "3: nodes.relay.cluster: must be text: put the value in quotes"),
        ("router: {window: 1:30}\n", "1: router.window: '1:30' is not a duration"),
        ("router: {metrics: 127.0.0.1}\n", "1: router.metrics: '127.0.0.1' is not an address to listen at, such as"),
        ("consumers: {metrics: 'a:65536'}\n", "1: consumers.metrics: 'a:65536' is not an address to listen at"),
        (
            "gpfs:\n  options:\n    quota:\n      prioriti: 5\n",
            "4: gpfs.options.quota.prioriti: unknown setting; did you mean priority?",
        ),
        (
            "consumers:\n  contacts:\n    team:\n      urls: env:A\n      x: 1\n",
            "5: consumers.contacts.team.x: unknown setting; there are urls, format, description",
        ),
        (
            "consumers:\n  owners:\n  - to: team\n    file_systems: gpfs1\n",
            "4: consumers.owners.1.file_systems: unknown setting; did you mean file_system?",
        ),
        (
            "consumers:\n  contacts:\n    team: {format: text}\n",
            "3: consumers.contacts.team.urls: is missing\n",
        ),
        ("router:\n  catalogue: [a]\n", "2: router.catalogue: must be a path"),
        ("consumers: {keep_deliveries: 1d}\n", "1: consumers.keep_deliveries: must be at least 7d"),
        ("broker: {prefix: A}\n", "1: broker.prefix: must match ^[a-z0-9-]{1,40}$ (value 'A')"),
        ("history:\n  size: much\n", "2: history.size: must be a whole number"),
        ("shim:\n\nbroker: 7\n", "1: shim: must hold fields, as in broker: {url: ...}"),
        ("- a\n", "1: must hold sections with fields, such as broker: {url: ...}"),
    ],
)
def test_a_mistake_in_a_file_has_its_line_and_its_setting(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, "bad.yaml", text)

    with pytest.raises(SettingsError) as caught:
        load(file, system=NOWHERE, environment={})

    assert f"{file}:{said}" in f"{caught.value}\n"


def test_octets_that_are_not_utf_8_are_refused_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes("broker: {prefix: a}\nshim: {spool: /Spülung}\n".encode("latin-1"))

    with pytest.raises(SettingsError) as caught:
        load(file, system=NOWHERE, environment={})

    assert str(caught.value) == f"{file}:2: octet 0xFC is not UTF-8: save the file as UTF-8"


def test_words_mean_what_they_mean_in_yaml_1_2(tmp_path: Path) -> None:
    file = written(tmp_path, "given.yaml", "broker: {prefix: no}\nnodes: {relay: {cluster: on, node: 1:30}}\n")

    loaded = load(file, system=NOWHERE, environment={})

    assert loaded.settings.broker.prefix == "no"
    assert loaded.settings.nodes.relay == {"cluster": "on", "node": "1:30"}


def test_a_mistake_has_the_place_of_the_layer_that_wins(tmp_path: Path) -> None:
    file = written(tmp_path, "given.yaml", "router: {window: 1m}\n")

    with pytest.raises(SettingsError, match=r"^CLUSTERBUS_ROUTER_WINDOW: router\.window: '2' is not a duration"):
        load(file, system=NOWHERE, environment={"CLUSTERBUS_ROUTER_WINDOW": "2"})


@pytest.mark.parametrize(
    "text",
    [
        "broker: {password: hunter22}\n",
        "broker: {url: 'amqp://u:hunter22@mq1', url: x}\n",
        "broker: {url: [[hunter22]]}\n",
        "nodes: {relay: {broker: [hunter22]}}\n",
        "broker: *hunter22\n",
        "broker: hunter22\n",
        "hunter22\n",
        "broker: {url: !hunter22 x}\n",
    ],
)
def test_no_mistake_repeats_a_value_that_may_be_a_secret(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, "bad.yaml", text)

    with pytest.raises(SettingsError) as caught:
        load(file, system=NOWHERE, environment={})

    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing is set\n"])
def test_an_empty_file_sets_nothing(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, "empty.yaml", text), system=NOWHERE, environment={}).origins == {}


@pytest.mark.parametrize("wrong", [{"a": SECRET}, [[SECRET]], f"amqp://u:{SECRET}@mq1:port/?x={SECRET}"])
def test_no_value_of_a_wrong_type_and_no_url_is_repeated_with_its_secret(tmp_path: Path, wrong: object) -> None:
    fields = [(section, field) for section, model in Settings.model_fields.items() for field in _fields(model)]
    assert len(fields) > 40

    for section, field in fields:
        file = written(tmp_path, "wrong.yaml", yaml.safe_dump({section: {field: wrong}}))
        try:
            shown = str(load(file, system=NOWHERE, environment={}).rows())
        except SettingsError as error:
            shown = f"{error} {error.__cause__}"

        assert SECRET not in shown, (section, field, shown)


@pytest.mark.parametrize(
    "text",
    [
        f"broker: {{url: amqp://u:{SECRET}@x/\nrouter: [\n",
        f"broker: {{url: *{SECRET}}}\n",
        f"broker: {{url: !{SECRET} x}}\n",
        f"broker:\n  url: {SECRET}: {SECRET}\n",
        f"broker: {{url: !!int {SECRET}}}\n",
        f"broker: {{url: !!bool {SECRET}}}\n",
        f"broker: {{url: !!timestamp {SECRET}}}\n",
        f'broker: {{url: "{SECRET}\n',
        f"broker: {SECRET}\n",
        f"{SECRET}\n",
        f"broker: {{amqp://u:{SECRET}@mq1/}}\n",
    ],
)
def test_a_broken_file_is_told_without_what_is_in_it(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, "bad.yaml", text)

    with pytest.raises(SettingsError, match=r"bad\.yaml") as caught:
        load(file, system=NOWHERE, environment={})

    assert SECRET not in str(caught.value)


def _fields(model: FieldInfo) -> list[str]:
    return list(model.annotation.model_fields)  # type: ignore[union-attr]


def test_a_refused_address_is_the_only_mistake_of_its_contact(tmp_path: Path) -> None:
    file = written(tmp_path, "bad.yaml", "consumers: {contacts: {team: {urls: ['slack://a/b/c']}}}\n")

    with pytest.raises(SettingsError) as caught:
        load(file, system=NOWHERE, environment={})

    assert len(str(caught.value).splitlines()) == 1


def places(model: type[BaseModel], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the place of everything in *model* that has fields of its own."""
    yield place
    for name, field in model.model_fields.items():
        for each in (field.annotation, *get_args(field.annotation)):
            if isinstance(each, type) and issubclass(each, BaseModel):
                item = () if each is field.annotation else (0 if get_origin(field.annotation) is tuple else "quota",)
                yield from places(each, (*place, name, *item))


def test_an_unknown_setting_is_named_at_any_depth(tmp_path: Path) -> None:
    expected = [*places(Settings)]
    for at, place in enumerate(expected):
        value: object = {"coolour": {"a": 1}}
        for name in reversed(place):
            value = [value] if name == 0 else {name: value}
        written(tmp_path, f"{at}.yaml", yaml.safe_dump(value))

    # In a process of its own: in this one, other tests may have completed types that were not.
    code = (
        "import sys, pathlib\nfrom router.settings.loading import load\n"
        "for each in sys.argv[1:]:\n try: load(system=pathlib.Path(each), environment={})\n"
        " except Exception as error: print(error)\n"
    )
    files = [str(tmp_path / f"{at}.yaml") for at in range(len(expected))]
    ended = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True, timeout=60)

    assert ("gpfs", "options", "quota") in expected
    assert ("consumers", "contacts", "quota") in expected
    assert ("consumers", "owners", 0) in expected
    for place in expected:
        assert f"{dotted((*place, 'coolour'))}: unknown setting; " in ended.stdout


def test_a_set_of_names_is_words_in_a_variable() -> None:
    loaded = load(system=NOWHERE, environment={"CLUSTERBUS_CONSUMERS_DESTROY": "delete-snapshot stop-gpfs"})

    assert loaded.settings.consumers.destroy == {"delete-snapshot", "stop-gpfs"}


def test_a_variable_that_looks_like_a_setting_and_is_none_is_named_with_what_may_be_meant() -> None:
    others = {"CLUSTERBUS_NODE_NAME": "n", "CLUSTERBUS_BROKER_KIND": "node", "CLUSTERBUS_URL": "x", "PATH": "/bin"}
    loaded = load(
        system=NOWHERE, environment={"CLUSTERBUS_ROUTER_STAET": "x", "CLUSTERBUS_BROKER": "amqp://h", **others}
    )

    assert loaded.ignored == [
        "the variable CLUSTERBUS_ROUTER_STAET is no setting and does nothing; did you mean CLUSTERBUS_ROUTER_STATE?"
    ]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://adm@mq1:99999", "has no port from 1 to 65535"),
        ("https://adm@mq1:abc", "has no port"),
        ("https://adm@mq1:0", "has no port"),
        ("https://mq1:15671", "is not https://ADMINISTRATOR@HOST:15671"),
        ("https://adm@[mq1", "is not https://ADMINISTRATOR@HOST:15671"),
        ("https://adm:hunter22@mq1", "put it in broker.management_password_file"),
        ("https://adm@mq1?x=1", "only cacertfile"),
    ],
)
def test_the_address_of_the_management_api_is_judged_where_it_is_read(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        load(system=NOWHERE, environment={"CLUSTERBUS_BROKER_MANAGEMENT": url})

    assert "hunter22" not in str(caught.value)
