"""What is wrong with a callback as it is wanted.  Looks at the node's disk at most, and runs nothing."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from router.catalogue import Catalogue, EventType
from router.sources.gpfs import dangers
from router.sources.gpfs.registrations import ACTIONS, PREFIX

from ..errors import did_you_mean
from .drafts import CONTINUE, Draft
from .mounts import mounted

NEXT = ".next"
"""What the identifier of a callback ends with that is about to take another's place."""

LONGEST = 255 - len(NEXT)

_FORBIDDEN = re.compile(r"[:;,\s]")
_RESERVED = ("gpfs", "mm")
_VARIABLE = re.compile(r"%([A-Za-z_]\w*)(?:\.(\w+))?")
_QUALIFIERS = ("ip", "name", "shortName")


@dataclass(frozen=True)
class Rules:
    """What a callback is checked by: the *catalogue*, and the *mounts* of this node, by their kinds."""

    catalogue: Catalogue
    mounts: Callable[[], Sequence[tuple[str, str]]] = mounted

    def mistakes(self, draft: Draft) -> list[str]:
        """Return everything that is wrong with *draft*, as far as it can be told without asking GPFS."""
        found = [*_identifier(draft), *self._command(draft), *self._events(draft), *_nodes(draft), *self._parms(draft)]
        found += _function(draft) if draft.is_function else _manner(draft)
        return found + list(self._dangers(draft))

    def _command(self, draft: Draft) -> Iterator[str]:
        command = draft.command
        if command is None or command == "":
            yield "has no command: give the full path of a program, or a Python function"
        elif isinstance(command, (str, os.PathLike)):
            yield from self._path(os.fspath(command))
        elif not callable(command):
            yield f"command is {command!r:.80}: give the full path of a program, or a Python function"

    def _path(self, path: str) -> Iterator[str]:
        if not path.startswith("/"):
            yield f"command {path!r} is no full path: it has to begin with /"
            return
        if ".." in path.split("/"):
            yield f"command {path!r} has .. in it: write where it really is"
        if not path.isprintable() or " " in path:
            yield f"command {path!r} has blanks or control characters in it: whether GPFS keeps them is not known"
        if device := self._managed(path):
            yield (
                f"command {path} is on the GPFS file system {device}: it has to be on a local disk, or a callback waits"
                " for the file system that waits for the callback"
            )
        file = Path(path)
        if file.is_dir() or (file.exists() and not os.access(file, os.X_OK)):
            yield f"command {path} is no executable file on this node: chmod +x"

    def _managed(self, path: str) -> str:
        """Return where the GPFS file system is mounted that *path* is in, nothing where it is in none."""
        real = os.path.realpath(path)
        inside = [(len(at), kind, at) for at, kind in self.mounts() if f"{real}/".startswith(f"{at.rstrip('/')}/")]
        _, kind, at = max(inside, default=(0, "", ""))
        return at if kind in ("gpfs", "mmfs") else ""

    def _events(self, draft: Draft) -> Iterator[str]:
        if not draft.events:
            yield "has no event: name one at least"
        for each in draft.events:
            if not isinstance(each, str) or self.catalogue.get(each) is None:
                near = self.catalogue.near(each) if isinstance(each, str) else ()
                hint = f"; did you mean {' or '.join(near)}?" if near else "; `clusterbus catalogue` lists them"
                yield f"GPFS has no event {each!r}{hint}"

    def _dangers(self, draft: Draft) -> Iterator[str]:
        types = self._types(draft)
        risky = {each.name: why for each in types if (why := dangers.of_event(each))}
        if not draft.is_function:
            risky |= dangers.of_manner(sync=bool(draft.sync), onerror=draft.onerror)
        accepted = {str(each).lower() for each in draft.accept}
        for word, why in sorted(risky.items()):
            if not draft.force and word.lower() not in accepted:
                yield f"{word} is dangerous: {why}. accept=[{word!r}], or force=True, takes that"
        known = [*self.catalogue.events, dangers.SYNC, dangers.ONERROR]
        for each in sorted(accepted - {name.lower() for name in known}):
            yield f"accept: {each!r} is no danger{did_you_mean(each, known)}"

    def _types(self, draft: Draft) -> list[EventType]:
        return [found for each in draft.events if isinstance(each, str) and (found := self.catalogue.get(each))]

    def _parms(self, draft: Draft) -> Iterator[str]:
        wrong = [each for each in draft.parms if not isinstance(each, str) or not each.isprintable()]
        if wrong:
            yield f"parms: {wrong[0]!r:.80} is no plain text"
            return
        types = self._types(draft)
        for word in draft.words:
            for match in _VARIABLE.finditer(word):
                yield from self._variable(
                    draft, word, match, {each.name for t in types for each in self.catalogue.of(t)}
                )

    def _variable(self, draft: Draft, word: str, match: re.Match[str], theirs: set[str]) -> Iterator[str]:
        name, qualifier = match.groups()
        known = self.catalogue.variable(name)
        if known is None or known.name != name:
            yield f"parms: there is no variable %{name}{did_you_mean(name, self.catalogue.variables)}"
        elif theirs and name not in theirs:
            yield f"parms: none of the events has %{name}"
        if draft.is_function and match[0] != word:
            yield f"parms: {word!r}: a function gets values, so write %{name} as a word of its own"
        elif qualifier and (qualifier not in _QUALIFIERS or (known is not None and not known.qualifiers)):
            yield f"parms: %{name}.{qualifier}: only names of nodes can have .{', .'.join(_QUALIFIERS)}"


def _identifier(draft: Draft) -> Iterator[str]:
    name = draft.identifier
    if not isinstance(name, str) or not name:
        yield "has no identifier: give it a callbackId"
        return
    if len(name) > LONGEST:
        yield f"the identifier has {len(name)} characters: {LONGEST} at the most, since a change needs {NEXT} behind it"
    if _FORBIDDEN.search(name) or not name.isprintable():
        yield f"identifier {name!r:.80}: no colon, semicolon, comma, blank, tab or control character is allowed"
    for start in _RESERVED:
        if name.startswith(start):
            yield f"identifier {name!r:.80} begins with {start}: that is reserved for GPFS"
    if name.startswith(PREFIX):
        yield f"identifier {name!r:.80} begins with {PREFIX}: `clusterbus callbacks` would take it away"
    if name.endswith(NEXT):
        yield f"identifier {name!r:.80} ends with {NEXT}: that is what a change is known by"
    if name.startswith("-"):
        yield f"identifier {name!r:.80} begins with a dash, as an option does"


def _nodes(draft: Draft) -> Iterator[str]:
    for each in draft.nodes:
        if not isinstance(each, str) or not each or _FORBIDDEN.search(each) or each.startswith(("-", "/")):
            yield f"nodes: {each!r:.80} is no name of a node or of a node class"


def _manner(draft: Draft) -> Iterator[str]:
    if isinstance(draft.priority, bool) or not isinstance(draft.priority, (int, float, type(None))):
        yield f"priority is {draft.priority!r:.40}, not a number"
    elif draft.priority is not None and not math.isfinite(draft.priority):
        yield f"priority is {draft.priority}, which is not finite"
    if not isinstance(draft.sync, bool):
        yield f"sync is {draft.sync!r:.40}: True or False"
    if draft.timeout is not None and (
        isinstance(draft.seconds, bool) or not isinstance(draft.seconds, int) or not 0 < draft.seconds < 10**9
    ):
        yield f"timeout is {draft.timeout!r:.40}, not a number of whole seconds above 0"
    if draft.onerror not in (None, *ACTIONS):
        hint = did_you_mean(str(draft.onerror), ACTIONS)
        yield f"onError is {draft.onerror!r:.40}: one of {', '.join(ACTIONS)}{hint}"
    for name, value in (("timeout", draft.timeout), ("onError", draft.onerror)):
        if value not in (None, CONTINUE) and not draft.sync:
            yield f"{name} {value} goes with sync=True only"


def _function(draft: Draft) -> Iterator[str]:
    away = "a consumer calls the function, later and elsewhere"
    if draft.sync:
        yield f"sync: GPFS can't wait for a function: {away}"
    if draft.timeout is not None or draft.onerror not in (None, CONTINUE):
        yield f"timeout and onError are GPFS's, for a program that it waits for: {away}"
    if draft.priority not in (None, -1):
        yield f"priority orders what GPFS runs at once; {away}, and each function has a queue of its own"
