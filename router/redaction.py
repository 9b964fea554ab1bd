"""Hides secrets in URLs, values and texts before they are shown.

Hides the password of a URL, the values of its query and the tokens in its path.  In a text, hides these parts of every
URL, and all secrets that this process has read.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote, urlsplit

from .references import is_reference

HIDDEN = "***"

SECRET_NAME = re.compile(r"(?i)pass|pwd|token|secret|key|sig|auth|credential|code")
"""Names of options and headers whose values are secrets."""

_SHORTEST = 4
"""Shorter pieces of a secret are not hidden, because they would hide many ordinary words."""

_MOST = 10_000
"""The most spellings of secrets to remember; the oldest are forgotten first."""

_PLAIN_OPTIONS = frozenset(
    (
        *("cacertfile", "certfile", "keyfile", "server_name_indication", "auth_mechanism"),  # RabbitMQ's
        *("host", "port", "user", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"),
        *("connect_timeout", "application_name", "target_session_attrs", "channel_binding"),  # PostgreSQL's
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),  # idem
    )
)
"""Options of a URL whose values are not secret; a misspelled option shows only its name."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"]+")
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:/?#\[\]]*)(:[0-9]*)?(?=[/?#]|$)")
"""A host and port; the same text could also be a user and password."""

_WEB = ("http", "https")
_TOKEN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_.~%+=-]{20,}")
_WORD = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{8,}|.{20,}")
"""Pieces of a secret that are secrets by themselves, and not ordinary words."""

_QUOTED = re.compile(r" ['\"](?!.['\"]|\\|<[a-z ]+>['\"])")
"""Where PyYAML starts to quote a word of the file; a single character or the name of a token does not count."""

_SPLIT = re.compile(r"[/?&;=:@#,\s]+")


def url(text: str) -> str:
    """Return the URL *text* without its secrets, in any spelling; a text that is not a URL is hidden completely.

    >>> url("amqp://router:s3cret@mq1:5672/bus"), url("postgresql://db/bus?user=router&password=s3cret&sslmode=require")
    ('amqp://router:***@mq1:5672/bus', 'postgresql://db/bus?user=router&password=***&sslmode=require')
    >>> url("https://hooks.example.com/services/T01/XyZ12345678901234567890")
    'https://hooks.example.com/services/T01/***'
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return HIDDEN
    before, _, query = rest.partition("?")
    user, at, place = before.rpartition("@")
    is_plain = not at and _PLACE.match(rest) and ("@" not in query or scheme.lower() in _WEB)
    if not is_plain and ("@" in query or (not at and ":" in before)):
        # The end of the password is unknown: its characters were not escaped, or the host is missing.
        return f"{scheme}://{rest.partition(':')[0].partition('?')[0]}:{HIDDEN}"
    # A password may contain a slash, a # or an @ that was not escaped: everything up to the last @ counts as password.
    name, colon, _ = user.partition(":")
    shown = f"{name}{f':{HIDDEN}' if colon else ''}{at}{_place(place, is_web=scheme.lower() in _WEB)}"
    return f"{scheme}://{shown}{f'?{_query(query)}' if query else ''}"


def value(found: object) -> str:
    """Return *found*, a value from a file or an option, without secrets, for a message about a mistake in it.

    >>> value("amqp://u:s3cret@mq1/"), value(5), value({"password": "s3cret"})
    ("'amqp://u:***@mq1/'", '5', 'a mapping')
    """
    if isinstance(found, Mapping):
        return "a mapping"
    if isinstance(found, (list, tuple, set, frozenset)):
        return "a list"
    return repr(redact(found)[:60]) if isinstance(found, str) else redact(repr(found))[:60]


def yaml_problem(problem: str) -> str:
    """Return the message *problem* of PyYAML without the words of the file that it quotes.

    >>> yaml_problem("found undefined alias 's3cret'"), yaml_problem("expected ',' or ']', but got '<scalar>'")
    ('found undefined alias', "expected ',' or ']', but got '<scalar>'")
    """
    return _QUOTED.split(problem, maxsplit=1)[0]


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """Return *text* with each of *secrets* hidden, also in its escaped spelling in a URL.

    A short one is hidden only where it touches a sign of an address, since it may also be a part of ordinary words.

    >>> scrubbed("401 for user:hunter%202@mail", ["hunter 2"]), scrubbed("<bus@ss> is not a class", ["ss", "a"])
    ('401 for user:***@mail', '<bus@***> is not a class')
    """
    every = list(secrets)
    for each in _spellings(every):
        text = text.replace(each, HIDDEN)
    for each in sorted((re.escape(each) for each in every if 0 < len(each) < _SHORTEST), key=len, reverse=True):
        text = re.sub(rf"(?<=[@:/<]){each}(?![\w*])|(?<![\w*]){each}(?=[@/>&])", HIDDEN, text)
    return text


def parts(address: str) -> tuple[str, ...]:
    """Return the secrets in *address*: the whole address, and each part that may appear alone, except the host."""
    try:
        split = urlsplit(address)
        user, password = split.username or "", split.password or ""
    except ValueError:
        return (address,)
    found = [address, address.partition("://")[2], password, user, split.query, split.path]
    found += [each for each in split.path.split("/") if each]
    found += [each.partition("=")[2] for each in re.split("[&;]", split.query)]
    if password and user:
        found.append(f"{user}:{password}")
    if torn := _torn(address):
        found += _SPLIT.split(torn)
    found += [unquote(each) for each in found]
    # Many services have their first token in the place of the host; `hostname` would change it to lower case.
    host = split.netloc.rpartition("@")[2].partition(":")[0]
    named = not torn and ("." in host or host == "localhost")
    return tuple(dict.fromkeys(each for each in [*found, "" if named else host] if each and each != "/"))


def _torn(address: str) -> str:
    """Return user and password of *address* if a sign in it was not escaped, so that a part may be taken for the host.

    A mail address in the path looks the same.
    """
    before, _, query = address.partition("://")[2].partition("?")
    front, at, _ = before.rpartition("@")
    password = front.partition(":")[2]
    if at:
        return front if any(each in password for each in "/#@") else ""
    rest, at, _ = query.rpartition("@")
    return f"{before}?{rest}" if at and ":" in before and "=" not in rest else ""


class _Known:
    """The secrets that this process has read, in all spellings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[str, None] = {}
        self.spellings: tuple[str, ...] = ()

    def add(self, secrets: Iterable[str]) -> None:
        new = [each for each in _spellings(secrets) if each not in self._read]
        if not new:
            return
        with self._lock:
            self._read.update(dict.fromkeys(new))
            for each in list(self._read)[:-_MOST]:
                del self._read[each]
            self.spellings = tuple(sorted(self._read, key=len, reverse=True))


_known = _Known()


def remember(secret: str) -> None:
    """Make `redact` hide *secret* from now on, and the parts of it that are secrets themselves: a password, a token."""
    words = [each for each in _SPLIT.split(secret) if _WORD.fullmatch(each)]
    named = [each for name, each in secrets_of(secret) if SECRET_NAME.search(name)]
    _known.add([secret, *words, *named])


def remember_url(address: str) -> None:
    """Make `redact` hide the secrets in the URL *address*, but not its other parts.

    Does not hide a password that is an ordinary word: that would hide the word everywhere.
    """
    _known.add(each for _, each in secrets_of(address) if _WORD.fullmatch(each))


def secrets_of(address: str) -> list[tuple[str, str]]:
    """Return the password of *address* and the values of its query that may be secrets, each with its name.

    >>> secrets_of("postgresql://bus:s3cret@db/bus?sslmode=require&sslpassword=other")
    [('password', 's3cret'), ('sslpassword', 'other')]
    """
    try:
        split = urlsplit(address)
        password = split.password
    except ValueError:
        return []
    found = [("password", unquote(password))] if password else []
    for each in re.split("[&;]", split.query):
        name, equals, option = each.partition("=")
        if equals and name not in _PLAIN_OPTIONS and not is_reference(unquote(option)):
            found.append((name, unquote(option)))
    return found


def redact(text: str) -> str:
    """Return *text*, from any origin, with all known secrets hidden.

    >>> redact("HTTP Request: POST https://u:s3cret@hooks.example.com/a?token=s3cret 200")
    'HTTP Request: POST https://u:***@hooks.example.com/a?token=*** 200'
    """
    for each in _known.spellings:
        if each in text:
            text = text.replace(each, HIDDEN)
    return _URL.sub(_redacted, text) if "://" in text else text


def _redacted(match: re.Match[str]) -> str:
    found = match[0]
    bare = found.rstrip("'\")]}>,;.:")
    return url(bare) + found[len(bare) :]


def _place(place: str, *, is_web: bool) -> str:
    before, mark, _ = place.partition("#")
    if before and not _PLACE.match(before):
        # What stands for a port and is no number may be anything.
        return HIDDEN
    if is_web:
        before = "/".join(HIDDEN if _TOKEN.fullmatch(each) else each for each in before.split("/"))
    return f"{before}{f'#{HIDDEN}' if mark else ''}"


def _query(query: str) -> str:
    shown = []
    for each in re.split("[&;]", query):
        name, equals, option = each.partition("=")
        if is_reference(plain := unquote(option)):
            shown.append(f"{name}={plain}")
            continue
        shown.append(each if name in _PLAIN_OPTIONS else f"{name}={HIDDEN}" if equals else HIDDEN)
    return "&".join(shown)


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Return the possible spellings of *secrets*, longest first, so that a short one never breaks a longer one."""
    forms = {form for each in secrets for form in (each, quote(each), quote(each, safe=""), unquote(each))}
    return sorted((each for each in forms if len(each) >= _SHORTEST), key=len, reverse=True)
