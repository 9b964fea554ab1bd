"""What the end of an ssh command means: the command's own exit code, a refused login, or a lost connection.

ssh exits with 255 for all that goes wrong with the connection, and with the code of the command otherwise, which may be
255 too.  So the shell of the node prints a mark with the exit code when the command has ended.  Pure functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FAILED = 255
"""The exit code of ssh if the connection, and not the command, failed."""

LONGEST_MARK = 96
"""How much of the end of the output is enough to find the mark in."""

_SIGNALS = 128
"""Exit codes above this mean that the local ssh was killed."""

# The first that matches says how to repair it.
_REFUSALS = (
    (
        rb"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for .* has changed",
        "its host key has changed: if the node was reinstalled, replace the key in known_hosts (ssh-keygen -R)",
    ),
    (
        rb"Host key verification failed|No .* host key is known for",
        "its host key is unknown: compare it, and add it to known_hosts",
    ),
    (
        rb"Permission denied \(|Too many authentication failures|no mutual signature|Authentication failed",
        "the account there accepts no key of this user: check the key, authorized_keys, and the account",
    ),
)
_NO_SHELL = "the account's login shell does not run commands: give it a POSIX shell, such as /bin/sh"
_NOT_CONNECTED = re.compile(
    rb"connect to host|Could not resolve|kex_exchange|banner exchange|Connection (?:closed|reset) by \S+ port"
    rb"|Connection timed out|Unable to negotiate|Bad owner or permissions|Bad configuration option|No route to host"
)
_KILLED = b": ssh killed by signal "
"""What pdsh prints if its ssh was killed; its exit code is 0 then."""

_LONGEST_LINE = 300


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: its own exit *code*, or that of ssh.

    *refusal* says why the node did not let us in, and how to repair it.  *lost* means that the node was not reached, or
    that the connection broke; then the command *may_run* there still.
    """

    code: int
    refusal: str = ""
    lost: bool = False
    may_run: bool = False


def marked(command: str, mark: str) -> str:
    r"""Return a text for a POSIX shell that runs *command* and then prints *mark* with its exit code on stderr.

    >>> marked("timeout 5 date", "x")
    "timeout 5 date; s=$?; printf '\\n%s %s\\n' x $s >&2; exit $s"
    """
    return rf"{command}; s=$?; printf '\n%s %s\n' {mark} $s >&2; exit $s"


def find_mark(tail: bytes, mark: str) -> tuple[int, int] | None:
    r"""Return the position of *mark* in *tail*, the end of a text, and the exit code; None if it is not there.

    A terminal on the node turns a newline into two characters.

    >>> find_mark(b"no disk\n\nx 3\n", "x"), find_mark(b"no disk\n", "x")
    ((8, 3), None)
    """
    found = re.search(rb"\r?\n%s (\d{1,3})\r?\n" % mark.encode(), tail)
    return (found.start(), int(found[1])) if found else None


def without_mark(code: int, errors: bytes, *, said_something: bool) -> Ending:
    r"""Return what an ssh that ended with *code* and printed no mark means; *errors* is its stderr.

    *said_something* means that the command has printed something, so that it had begun.

    >>> without_mark(255, b"op@n1: Permission denied (publickey).\n", said_something=False).refusal[:50]
    'op@n1: Permission denied (publickey).: the account'
    >>> without_mark(255, b"ssh: connect to host n1 port 22: No route to host", said_something=False).may_run
    False
    >>> without_mark(255, b"client_loop: send disconnect: Broken pipe", said_something=False).may_run
    True
    """
    if _KILLED in errors:
        return Ending(FAILED, lost=True, may_run=True)
    if code <= _SIGNALS:
        return Ending(code, refusal=_NO_SHELL)
    if code == FAILED and not said_something:
        for pattern, way_out in _REFUSALS:
            if found := re.search(rb"[^\r\n]*(?:%s)[^\r\n]*" % pattern, errors):
                line = found[0][:_LONGEST_LINE].decode("utf-8", "replace").strip("@ \t")
                return Ending(code, refusal=f"{line}: {way_out}")
    return Ending(code, lost=True, may_run=said_something or not _NOT_CONNECTED.search(errors))
