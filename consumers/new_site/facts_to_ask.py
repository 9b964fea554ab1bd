"""The few facts about a site that nobody can guess: as questions, as options, and as checked values.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from router import database_urls

_CLUSTER = re.compile(r"[A-Za-z0-9_-]{1,100}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}))(:[0-9]{1,5})?")
_MOST = 65535
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_MAIL = re.compile(r"[A-Za-z0-9_.+-]+@[A-Za-z0-9.-]+")
_MANAGEMENT = re.compile(r"https?://[^\s/?#@:]+@(?P<host>[^\s/?#@]+)")

PLAIN = "none"
"""What is said in place of CA certificates for a broker without TLS."""


@dataclass(frozen=True, slots=True)
class Site:
    """What is known of a site: texts as the operator wrote them, each checked."""

    cluster: str
    broker: tuple[str, ...]
    ca: str
    management: str
    hub: tuple[str, ...]
    login: str
    database: str
    mail: str
    mail_server: str

    @property
    def tls(self) -> bool:
        """Whether the brokers are reached by TLS."""
        return self.ca != PLAIN

    @property
    def own_ca(self) -> bool:
        """Whether the site has CA certificates of its own."""
        return self.ca not in ("", PLAIN)


Name = Literal["cluster", "broker", "ca", "management", "hub", "login", "database", "mail", "mail_server"]


@dataclass(frozen=True, slots=True)
class Question:
    """One fact: the option *name*, the *text* of the question, its *default* (None: must be given), and its *check*.

    *check* returns the value, or raises ValueError.  It is asked only if *asked_if*, another fact, is not empty.
    """

    name: Name
    text: str
    default: str | None
    check: Callable[[str], str]
    asked_if: Name | None = None

    @property
    def option(self) -> str:
        """The option of the command line."""
        return f"--{self.name.replace('_', '-')}"


def _cluster(text: str) -> str:
    if not _CLUSTER.fullmatch(text):
        raise ValueError("use only A-Z a-z 0-9 _ -")
    return text


def _host(text: str) -> str:
    found = _HOST.fullmatch(text)
    if not found or not 0 < int((found[2] or ":1")[1:]) <= _MOST:
        raise ValueError(f"{text!r} is not a host name, or HOST:PORT with a port from 1 to {_MOST}")
    return text


def _hosts(text: str) -> str:
    found = dict.fromkeys(_host(each) for each in text.split())
    if not found:
        raise ValueError("name at least one host")
    return " ".join(found)


def _management(text: str) -> str:
    found = _MANAGEMENT.fullmatch(text)
    if text and not found:
        raise ValueError("write https://ADMINISTRATOR@HOST:15671, without a password")
    if found:
        _host(found["host"])
    return text


def _login(text: str) -> str:
    if not _USER.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a user")
    return text


def _database(text: str) -> str:
    if not text:
        return text
    if mistake := database_urls.mistake(text):
        raise ValueError(mistake)
    if not text.startswith("postgresql://"):
        raise ValueError("write postgresql://HOST, or nothing for SQLite")
    if urlsplit(text).username or database_urls.holds_password(text):
        raise ValueError("name no user and no password: each program has its own")
    if urlsplit(text).path.strip("/"):
        raise ValueError("name no database: each program has its own, with the name of its user")
    _host(urlsplit(text).netloc)
    return text


def _mail(text: str) -> str:
    if text and not _MAIL.fullmatch(text):
        raise ValueError(f"{text!r} is not a mail address")
    return text


QUESTIONS = (
    Question("cluster", "Name of the cluster, for its events, such as prod", None, _cluster),
    Question("broker", "Hosts of RabbitMQ, with blanks in between", None, _hosts),
    Question("ca", f"File of the CA certificates (empty: the system's; {PLAIN}: no TLS)", "", lambda text: text),
    Question(
        "management", "Management API, https://ADMINISTRATOR@HOST:15671 (empty: rabbitmqctl here)", "", _management
    ),
    Question("hub", "Hosts of router and consumers, with blanks in between", "localhost", _hosts),
    Question("login", "User that logs in on nodes by ssh; it needs sudo if it is not root", "root", _login),
    Question("database", "PostgreSQL, such as postgresql://db1 (empty: SQLite)", "", _database),
    Question("mail", "Mail address of those to notify (empty: nobody yet)", "", _mail),
    Question("mail_server", "Mail server that takes mail without a password", "localhost", _host, asked_if="mail"),
)
"""The questions in their order."""


def contradiction(found: Mapping[str, str]) -> str:
    """Return why the checked values that were *found* so far cannot be of one site; empty if they can."""
    hubs = found.get("hub", "").split()
    if len(hubs) > 1 and found.get("database") == "":
        return f"{len(hubs)} hubs need --database postgresql://HOST: with SQLite, each would have a state of its own"
    return ""


def site(values: Mapping[str, str]) -> Site:
    """Return the site with the checked *values*, by the names of the questions.  Raises ValueError."""
    found: dict[str, str] = {each.name: values.get(each.name, each.default or "") for each in QUESTIONS}
    if wrong := contradiction(found):
        raise ValueError(wrong)
    return Site(
        cluster=found["cluster"],
        broker=tuple(found["broker"].split()),
        ca=found["ca"],
        management=found["management"],
        hub=tuple(found["hub"].split()),
        login=found["login"],
        database=found["database"],
        mail=found["mail"],
        mail_server=found["mail_server"],
    )
