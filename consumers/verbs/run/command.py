"""Runs a command of this machine, a list of words, with the event on its standard input.

The words are filled in from the event, each stays one word, and no shell sees them.  The environment holds nothing of
ours but what is written here: what the event is, and its variables.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import pwd
import re
import subprocess
import threading
from collections.abc import Mapping
from datetime import timedelta

from router.events import Value

from ... import children, processes
from ...deliveries import Delivery, Report
from ...errors import Rejected
from ...templates import Template
from .. import Handler, Surroundings
from . import RunVerb

log = logging.getLogger(__name__)

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GRACE = timedelta(seconds=5)
"""Between SIGTERM and SIGKILL."""

LONGEST_VARIABLE = 32768
LARGEST_ENVIRONMENT = 512 * 1024
"""Octets of all variables together: Linux takes 2 MiB of words and environment by default, less on small stacks."""

_HOPELESS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_HOPELESS |= {errno.E2BIG, errno.EISDIR}
_NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9_]")


class CommandHandler(Handler):
    """Runs the command of one subscription; may be called from several threads at once."""

    def __init__(self, verb: RunVerb, surroundings: Surroundings) -> None:
        """Break off what runs when the consumer stops.  Raises SubscriptionsError where `user` cannot be become."""
        self._verb, self._stopping = verb, surroundings.stopping
        self._words = [Template(each) for each in verb.command]
        self._environment = {name: Template(text) for name, text in verb.environment.items()}
        self._user = _user(surroundings, verb.user)

    def __call__(self, delivery: Delivery) -> Report | None:
        """Run the command for *delivery*; its exit code is the outcome.  None where it was broken off by a stop."""
        if delivery.repeated and (left := children.end(delivery.mark)):
            log.warning("ended what a killed consumer left running", extra={"mark": delivery.mark, "processes": left})
        command = processes.Command(
            words=self._rendered(delivery),
            environment=self._variables(delivery),
            mark=delivery.mark,
            timeout=self._verb.timeout,
            grace=GRACE,
            output=self._verb.output,
            user=self._user,
        )
        return _report(_run(command, delivery.event.to_json(), self._stopping), self._verb.timeout)

    def plan(self, delivery: Delivery) -> Mapping[str, object]:
        """Return the command as it would be run."""
        return {"command": self._rendered(delivery), "user": self._verb.user}

    def _rendered(self, delivery: Delivery) -> list[str]:
        return [each.render(delivery) for each in self._words]

    def _variables(self, delivery: Delivery) -> dict[str, str]:
        own = {name: each.render_text(delivery) for name, each in self._environment.items()}
        return {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/", **own, **facts(delivery)}


def facts(delivery: Delivery) -> dict[str, str]:
    """Return what the environment says of *delivery*: what it is, and each variable that has a value.

    `CLUSTERBUS_CUT` names the variables that are too large to be there whole; standard input has them.
    """
    event = delivery.event
    variables, cut = _event_variables(event.data)
    return {
        "CLUSTERBUS_EVENT_ID": event.id,
        "CLUSTERBUS_TYPE": _plain(event.type),
        "CLUSTERBUS_TOPIC": _plain(delivery.topic),
        "CLUSTERBUS_NODE": event.node,
        "CLUSTERBUS_CLUSTER": event.cluster,
        "CLUSTERBUS_SUBSCRIPTION": delivery.subscription,
        "CLUSTERBUS_ATTEMPT": str(delivery.attempt),
        **({"CLUSTERBUS_CUT": " ".join(cut)} if cut else {}),
        **variables,
    }


def _event_variables(data: Mapping[str, Value]) -> tuple[dict[str, str], list[str]]:
    variables, cut, size = {}, [], 0
    for name, value in data.items():
        if value is None:
            continue
        variable = _NOT_OF_A_NAME.sub("_", name)[:100]
        text = _plain(_text(value))
        octets = text.encode("utf-8", "surrogateescape")
        kept = octets[: min(LONGEST_VARIABLE, max(0, LARGEST_ENVIRONMENT - size))]
        size += len(kept) + len(variable)
        if len(kept) < len(octets):
            cut.append(variable)
            text = kept.decode("utf-8", "ignore")
        if size < LARGEST_ENVIRONMENT:
            variables[f"CLUSTERBUS_VAR_{variable}"] = text
    return variables, [each[:100] for each in cut[:100]]


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def _plain(text: str) -> str:
    return text.replace("\0", "")


def _run(command: processes.Command, feed: bytes, stopping: threading.Event) -> processes.Ended:
    try:
        return processes.run(command, feed, stopping)
    except OSError as error:
        if error.errno in _HOPELESS:
            raise Rejected(f"command {command.words[0]!r} cannot be run: {error.strerror}") from error
        raise
    except (ValueError, subprocess.SubprocessError) as error:
        raise Rejected(f"command {command.words[0]!r} cannot be run: {error}") from error


def _report(ended: processes.Ended, timeout: timedelta) -> Report | None:
    result: dict[str, object] = {
        "output": ended.output.decode("utf-8", "replace"),
        "octets": ended.octets,
        "seconds": round(ended.seconds, 3),
    }
    if ended.left:
        result["left_behind"] = ended.left
    if ended.code is None:
        return Report("timeout", f"not through after {timeout}, and it cannot be killed", result)
    result |= {"exit": ended.code} if ended.code >= 0 else {"signal": -ended.code}
    if ended.timed_out:
        return Report("timeout", f"not through after {timeout}: ended", result)
    if ended.stopped:
        return None
    if ended.code < 0:
        return Report(f"signal:{-ended.code}", f"ended by signal {-ended.code}{_tail(ended)}", result)
    return (
        Report(f"exit:{ended.code}", f"exit code {ended.code}{_tail(ended)}", result)
        if ended.code
        else Report(result=result)
    )


def _tail(ended: processes.Ended) -> str:
    """Return what a reason can hold of the output: its last line that was kept."""
    lines = ended.output.decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:500]}" if lines else ""


def _user(surroundings: Surroundings, name: str | None) -> processes.User | None:
    if name is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise surroundings.mistake("run.user", f"there is no user {name!r} on this machine") from None
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise surroundings.mistake(
            "run.user", f"only root can run a command as {name!r}: start consumers as root, or leave it out"
        )
    return processes.User(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))
