"""How to reach the broker, and who logs in there: the user of `broker.url`, or a program as a user of its own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from ...broker import addresses
from ...passwords import of_file
from ..field_types import SECRET, AtLeastOneWord, Duration
from .section import Section


def _set(field: str) -> dict[str, Any]:
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


class ProgramLogin(Section):
    """Who one program logs in as.  Hosts, virtual host and CA certificates come from `broker.url`."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"if": _set("keyfile"), "then": _set("certfile")},
                {"if": _set("password_file"), "then": _set("user")},
                {"if": _set("user"), "then": {"anyOf": [_set("password_file"), _set("certfile")]}},
            ]
        }
    )
    """What `_complete` checks."""

    user: Annotated[str, Field(min_length=1)] | None = None
    """The program's broker user; by default the one in `broker.url`, with its password or certificate."""
    password_file: Path | None = None
    """A file that holds the password of *user*; the program must be able to read it."""
    certfile: Path | None = None
    """A client certificate to log in with, instead of a password or in addition to it; needs `amqps://`."""
    keyfile: Path | None = None
    """The key of *certfile*, where that does not contain it."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.keyfile and not self.certfile:
            raise ValueError("keyfile needs a certfile")
        if self.password_file and not self.user:
            raise ValueError("password_file needs a user, such as user: clusterbus-router")
        if self.user and not (self.password_file or self.certfile):
            raise ValueError("user needs a password_file or a certfile")
        return self


class BrokerSettings(Section):
    """How to reach RabbitMQ.  Several URLs, separated by blanks, are the nodes of one cluster.

    For TLS write `amqps://HOST/VHOST?cacertfile=...&certfile=...&keyfile=...`, with RabbitMQ's own option names.
    """

    url: Annotated[AtLeastOneWord, SECRET] = ("amqp://guest:guest@127.0.0.1:5672/%2F",)
    """`amqp://USER@HOST:PORT/VHOST`; several, separated by blanks, are the nodes of one cluster."""
    password_file: Path | None = None
    """A file that holds the password of the user in *url*."""
    progress_limit: Duration = timedelta(seconds=30)
    """How long the broker may make no progress before a program connects again."""
    patience: Duration = timedelta(seconds=15)
    """How long a command tries to reach the broker; services try for ever."""

    control: AtLeastOneWord = ("rabbitmqctl",)
    """The command by which `broker users` grants rights where *management* is not set."""

    management: Annotated[str | None, SECRET] = None
    """The management API, `https://ADMINISTRATOR@HOST:15671`; `?cacertfile=...` names the CA certificates to trust."""

    management_password_file: Path | None = None
    """A file that holds the password of the user in *management*."""
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] = "clusterbus"
    """The names of our programs' broker users: *prefix*`-router`, `-consumer`, `-operator`."""

    secrets: Path = Path("/etc/clusterbus/secrets/users")
    """The passwords of our programs' users, each in a folder of its name; those of nodes are in `nodes.secrets`."""

    @field_validator("control")
    @classmethod
    def _ends_with_rabbitmqctl(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if "rabbitmqctl" in [Path(word).name for word in words[:-1]]:
            raise ValueError(
                "nothing may follow rabbitmqctl, because with options it does not read its standard input; name the"
                " broker's node in the environment: env RABBITMQ_NODENAME=rabbit@mq1 rabbitmqctl"
            )
        return words

    @field_validator("management")
    @classmethod
    def _is_a_management_address(cls, url: str | None) -> str | None:
        if url:
            addresses.parse_management(url)
        return url

    def urls(self, login: ProgramLogin | None = None, setting: str = "") -> tuple[str, ...]:
        """Return the URLs with the password of `password_file`; or, if *login* is set, as that one logs in.

        *setting* names *login* in messages.  Raises SettingsError where a password file cannot be read, or a URL is
        not a broker's.
        """
        if login is not None and login != ProgramLogin():
            password = _password(login.password_file, setting) if login.password_file else None
            return tuple(_with_login(each, login, password) for each in self.url)
        if self.password_file is None:
            return self.url
        password = _password(self.password_file, "broker")
        for each in self.url:
            addresses.parse(each)
        return tuple(addresses.with_user(each, urlsplit(each).netloc.rpartition("@")[0], password) for each in self.url)


_OF_A_LOGIN = ("certfile", "keyfile", "auth_mechanism")
"""The options of a URL that say who logs in."""


def _password(file: Path, section: str) -> str:
    return of_file(
        file,
        f"{section}.password_file",
        absent="`clusterbus broker users --apply` creates it; if that ran on another machine, copy the file from there",
        unreadable="run `clusterbus broker users --apply` as root, which lets each program read its own password",
    )


def _with_login(url: str, login: ProgramLogin, password: str | None) -> str:
    addresses.parse(url)
    parts = urlsplit(url)
    options = {name: value for name, value in parse_qsl(parts.query) if name not in _OF_A_LOGIN}
    if login.certfile:
        options["certfile"] = str(login.certfile)
        if login.keyfile:
            options["keyfile"] = str(login.keyfile)
        if password is None:
            options["auth_mechanism"] = "external"
    bare = urlunsplit(parts._replace(query=urlencode(options, safe="/", quote_via=quote)))
    found = addresses.with_user(bare, quote(login.user or "", safe=""), password)
    addresses.parse(found)  # such as certificates without TLS
    return found
