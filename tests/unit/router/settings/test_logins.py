"""Who logs in at the broker: the user of `broker.url`, or a program as a user of its own."""

import pwd
import sys
from pathlib import Path

import pytest

from router.errors import SettingsError
from router.settings.loading import load
from tests.other_users import as_root, reachable_folder, run_as
from tests.unit.router.settings.test_loading import NOWHERE, written

SITE = """\
broker:
  url: amqps://clusterbus-operator@mq1/bus?cacertfile=/ca.pem amqps://clusterbus-operator@mq2:5/bus?cacertfile=/ca.pem
  password_file: {operator}
router:
  broker: {{user: clusterbus-router, password_file: {router}}}
consumers:
  broker: {{user: clusterbus-consumer, certfile: /c.pem, keyfile: /c.key}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for name in ("operator", "router"):
        written(tmp_path, name, f"pass/{name}\n").chmod(0o600)
    text = SITE.format(operator=tmp_path / "operator", router=tmp_path / "router")
    return written(tmp_path, "clusterbus.yaml", text)


def test_each_program_logs_in_as_its_own_user_at_the_hosts_of_the_url(site: Path) -> None:
    settings = load(site, system=NOWHERE, environment={}).settings

    assert settings.urls("router") == (
        "amqps://clusterbus-router:pass%2Frouter@mq1/bus?cacertfile=/ca.pem",
        "amqps://clusterbus-router:pass%2Frouter@mq2:5/bus?cacertfile=/ca.pem",
    )
    assert settings.urls("consumers") == (
        "amqps://clusterbus-consumer@mq1/bus?cacertfile=/ca.pem&certfile=/c.pem&keyfile=/c.key&auth_mechanism=external",
        "amqps://clusterbus-consumer@mq2:5/bus?cacertfile=/ca.pem&certfile=/c.pem&keyfile=/c.key&auth_mechanism=external",
    )
    assert settings.urls()[0] == "amqps://clusterbus-operator:pass%2Foperator@mq1/bus?cacertfile=/ca.pem"


def test_a_program_without_a_login_of_its_own_is_the_user_of_the_url() -> None:
    settings = load(system=NOWHERE, environment={"CLUSTERBUS_BROKER": "amqp://u:p@mq/v"}).settings

    assert settings.urls("router") == settings.urls("consumers") == settings.urls() == ("amqp://u:p@mq/v",)


def test_the_certificate_of_the_url_is_not_presented_for_the_user_of_a_program(tmp_path: Path) -> None:
    secret = written(tmp_path, "router", "word\n")
    secret.chmod(0o600)
    url = "amqps://mq1/bus?cacertfile=/ca.pem&certfile=/o.pem&keyfile=/o.key&auth_mechanism=external"
    file = written(
        tmp_path,
        "clusterbus.yaml",
        f"broker: {{url: '{url}'}}\nrouter: {{broker: {{user: router, password_file: {secret}}}}}\n",
    )

    found = load(file, system=NOWHERE, environment={}).settings.urls("router")

    assert found == ("amqps://router:word@mq1/bus?cacertfile=/ca.pem",)


@pytest.mark.parametrize("how", ["variable", "option"])
def test_a_url_with_a_password_that_is_given_replaces_the_logins_in_files(site: Path, how: str) -> None:
    url = "amqp://me:mine@mq9/bus"
    given = {"environment": {"CLUSTERBUS_BROKER": url}} if how == "variable" else {"options": {"broker.url": url}}

    loaded = load(site, system=NOWHERE, **{"environment": {}, **given})

    assert loaded.settings.urls("router") == loaded.settings.urls("consumers") == loaded.settings.urls() == (url,)
    assert "router.broker.user" not in loaded.origins


def test_hosts_that_are_given_without_a_password_keep_the_logins(site: Path) -> None:
    environment = {"CLUSTERBUS_BROKER": "amqp://mq9/bus"}

    found = load(site, system=NOWHERE, environment=environment).settings.urls("router")

    assert found == ("amqp://clusterbus-router:pass%2Frouter@mq9/bus",)


def test_each_field_of_a_login_has_its_own_variable_and_origin(site: Path, tmp_path: Path) -> None:
    environment = {"CLUSTERBUS_ROUTER_BROKER_USER": "other"}

    loaded = load(site, system=NOWHERE, environment=environment)

    rows = {name: (value, origin) for name, value, origin in loaded.rows()}
    assert rows["router.broker.user"] == ("other", "CLUSTERBUS_ROUTER_BROKER_USER")
    assert rows["router.broker.password_file"] == (str(tmp_path / "router"), str(site))
    assert rows["router.broker.keyfile"] == ("-", "default")
    assert loaded.settings.urls("router")[0].startswith("amqps://other:pass%2Frouter@mq1/")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "router:\n  broker:\n    usr: a\n    password_file: /p\n",
            "3: router.broker.usr: unknown setting; did you mean user?",
        ),
        ("router:\n  broker: {user: a}\n", "2: router.broker: user needs a password_file or a certfile"),
        (
            "router:\n  broker: {password_file: /p}\n",
            "2: router.broker: password_file needs a user, such as user: clusterbus-router",
        ),
        ("consumers:\n  broker: {keyfile: /k}\n", "2: consumers.broker: keyfile needs a certfile"),
        (
            "consumers:\n  broker:\n    user: 5\n    certfile: /c\n",
            "3: consumers.broker.user: must be text: put the value in quotes (value 5)",
        ),
        (
            "router:\n\n  broker: amqp://u:hunter22xyz@h\n",
            "3: router.broker: must hold fields, as in broker: {user: ...}",
        ),
        ("router: {broker: }\n", "1: router.broker: must hold fields, as in broker: {user: ...}"),
    ],
)
def test_a_mistake_in_a_login_names_file_line_and_field(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, "bad.yaml", text)

    with pytest.raises(SettingsError) as caught:
        load(file, system=NOWHERE, environment={})

    assert f"{file}:{said}" in str(caught.value).splitlines()


def test_a_certificate_without_tls_is_refused(tmp_path: Path) -> None:
    environment = {"CLUSTERBUS_BROKER": "amqp://mq/v", "CLUSTERBUS_ROUTER_BROKER_CERTFILE": "/c.pem"}
    settings = load(system=NOWHERE, environment=environment).settings

    with pytest.raises(SettingsError, match=r"amqp://mq/v.* has the option certfile, which needs amqps://"):
        settings.urls("router")


@as_root
def test_a_password_file_that_a_program_may_not_read_is_named_with_its_user_and_what_to_do() -> None:
    nobody = pwd.getpwnam("nobody")
    with reachable_folder() as folder:
        file = folder / "password"
        file.write_text("word\n")
        file.chmod(0o600)
        file.chmod(0o600)
        environment = {"CLUSTERBUS_ROUTER_BROKER_USER": "router", "CLUSTERBUS_ROUTER_BROKER_PASSWORD_FILE": str(file)}
        program = (
            "from pathlib import Path; from router.settings.loading import load; from router.errors import *\n"
            f"try: load(environment={environment}, system=Path('/none')).settings.urls('router')\n"
            "except SettingsError as error: print(error)"
        )

        done = run_as(nobody.pw_uid, nobody.pw_gid, [sys.executable, "-c", program])

    assert done.stdout == (
        f"router.broker.password_file: {file}: the user nobody may not read it: run `clusterbus broker users --apply`"
        " as root, which lets each program read its own password\n"
    ), done.stderr


def test_a_password_file_that_is_absent_says_who_makes_it(site: Path, tmp_path: Path) -> None:
    (tmp_path / "router").unlink()
    settings = load(site, system=NOWHERE, environment={}).settings

    with pytest.raises(SettingsError, match=r"router\.broker\.password_file: .*/router: No such file"):
        settings.urls("router")
