"""What a service's program says about itself, in arguments or in the environment; wrong values are found here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from router import passwords, redaction
from router.broker.addresses import Address, parse, with_user
from router.errors import InvalidTopic, SettingsError
from router.model.topics import check_pattern, matches

from .since import Position, Since, position

URL, PASSWORD_FILE, SERVICE = "CLUSTERBUS_URL", "CLUSTERBUS_PASSWORD_FILE", "CLUSTERBUS_SERVICE"
"""The variables of the environment that stand for arguments which are not given."""

_ALL = {"#", "*"}
_TYPE_WORDS = 2


@dataclass(frozen=True, slots=True)
class Login:
    """The brokers, and the file of the password for those whose URLs have none."""

    urls: tuple[str, ...]
    password_file: Path | None

    @property
    def user(self) -> str:
        """The user in the first URL.  Raises SettingsError."""
        (first, *_) = self._given()
        user = unquote(urlsplit(first).username or "")
        if not user:
            raise SettingsError("the URL names no user: `clusterbus services show` prints it")
        return user

    def with_password(self) -> list[str]:
        """Return the URLs, with the password as its file has it now.  Raises SettingsError."""
        found = [(each, parse(each), urlsplit(each)) for each in self._given()]
        needs = [address for _, address, parts in found if parts.password is None and not address.external]
        password = self._password(needs) if needs else ""
        nameless = next((address for _, address, parts in found if not (parts.username or address.external)), None)
        if nameless:
            raise SettingsError(f"broker {nameless.host}: the URL names no user: `clusterbus services show` prints it")
        return [
            with_user(url, parts.username or "", password) if address in needs else url for url, address, parts in found
        ]

    def _given(self) -> tuple[str, ...]:
        if not self.urls:
            raise SettingsError(f"no broker: give url=, or set {URL}, such as amqps://USER@HOST/?cacertfile=/PATH")
        for each in self.urls:
            redaction.remember_url(each)
        return self.urls

    def _password(self, needs: Sequence[Address]) -> str:
        if self.password_file is None:
            raise SettingsError(
                f"no password for {needs[0]}: give password_file=, or set {PASSWORD_FILE}, to the file that an"
                " administrator made with `clusterbus services add` or `clusterbus services rotate`"
            )
        return passwords.of_file(
            self.password_file,
            "password_file",
            absent="copy the file that `clusterbus services add` or `clusterbus services rotate` wrote",
        )


def login(
    url: str | Sequence[str] | None,
    password_file: str | os.PathLike[str] | None,
    environment: Mapping[str, str] = os.environ,
) -> Login:
    """Return the login that these arguments and the *environment* give."""
    urls = environment.get(URL, "").split() if url is None else [url] if isinstance(url, str) else url
    file = password_file or environment.get(PASSWORD_FILE)
    return Login(tuple(urls), Path(file) if file else None)


@dataclass(frozen=True, slots=True)
class Options:
    """Which queue is read, at which brokers, and what of it is wanted."""

    queue: str
    service: str
    on: tuple[str, ...]
    since: Position | None
    login: Login
    prefetch: int
    patience: timedelta

    def wants(self, category: str, name: str, type_: str, topic: str) -> bool:
        """Say whether an event with this topic is among those that `on` names."""
        return not self.on or any(
            each in _ALL or each in (category, name, type_) or ("." in each and matches(each, topic))
            for each in self.on
        )

    def addresses(self) -> list[Address]:
        """Return the brokers, with the password as its file has it now.  Raises SettingsError."""
        return [parse(each) for each in self.login.with_password()]


def options(  # noqa: PLR0913 - each is one argument of `events`
    on: Sequence[str],
    *,
    service: str | None,
    queue: str | None,
    url: str | Sequence[str] | None,
    password_file: str | os.PathLike[str] | None,
    since: Since | None,
    prefetch: int,
    patience: timedelta,
    environment: Mapping[str, str] = os.environ,
) -> Options:
    """Return the options that these arguments and the *environment* give.  Raises ValueError for one that is wrong."""
    service = service or environment.get(SERVICE, "")
    if not (service or queue):
        raise ValueError(f"which service is this? Give service=, or set {SERVICE}")
    if prefetch < 1:
        raise ValueError(f"prefetch is {prefetch}: at least one event must be under way")
    if since is not None and not on:
        raise ValueError(
            "since= reads the history, which has the events of everybody: say which ones this service takes, as its"
            ' entry does, such as events("gpfs.*.disk.#", "softQuotaExceeded", since="2h"); "#" takes all'
        )
    _check_selectors(on)
    return Options(
        queue=queue or f"clusterbus.svc.{service}",
        service=service,
        on=tuple(on),
        since=None if since is None else position(since),
        login=login(url, password_file, environment),
        prefetch=prefetch,
        patience=patience,
    )


def _check_selectors(on: Sequence[str]) -> None:
    given: Sequence[object] = on
    if wrong := next((each for each in given if not isinstance(each, str)), None):
        raise ValueError(f'{wrong!r} is no text: write events("disk", "quota") and @events.handler(service="tickets")')
    for each in on:
        if "." in each and len(each.split(".")) > _TYPE_WORDS:
            try:
                check_pattern(each)
            except InvalidTopic as error:
                raise ValueError(str(error)) from None
