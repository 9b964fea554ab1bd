"""Find the mistakes in a callback.  Reads the disk of this node at most, and runs no command."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from router.cluster.callbacks.gpfs import risks
from router.cluster.callbacks.gpfs.wanted import ACTIONS, PREFIX
from router.cluster.fleet.errors import InvalidNodeSet
from router.cluster.gpfs.node_lists import node_list
from router.errors import did_you_mean
from router.model.catalogue import Catalogue, EventType

from .draft import CONTINUE, Draft

NEXT = ".next"
"""Suffix of the identifier of a callback that is about to replace another one."""

LONGEST = 255 - len(NEXT)

_FORBIDDEN = re.compile(r"[:;,\s]")
_RESERVED = ("gpfs", "mm")
_VARIABLE = re.compile(r"%([A-Za-z_]\w*)(?:\.(\w+))?")
_MOUNTS = Path("/proc/self/mounts")
_DEVICE_PLACE_KIND = 3
_QUALIFIERS = ("ip", "name", "shortName")


def mounted(file: Path = _MOUNTS) -> list[tuple[str, str]]:
    """Return the mount points of this node and their types; empty if they cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = [line.split(" ") for line in lines]
    return [(_unescaped(fields[1]), fields[2]) for fields in found if len(fields) >= _DEVICE_PLACE_KIND]


def _unescaped(text: str) -> str:
    # The file has blanks and similar characters in octal.
    return re.sub(r"\\([0-7]{3})", lambda each: chr(int(each[1], 8)), text)


@dataclass(frozen=True)
class Rules:
    """The rules for callbacks, with the *catalogue* and the *mounts* of this node."""

    catalogue: Catalogue
    mounts: Callable[[], Sequence[tuple[str, str]]] = mounted

    def mistakes(self, draft: Draft) -> list[str]:
        """Return all mistakes in *draft* that can be found without asking GPFS."""
        found = [*_identifier(draft), *self._command(draft), *self._events(draft), *_nodes(draft), *self._parms(draft)]
        found += _function(draft) if draft.is_function else _manner(draft)
        return found + list(self._dangers(draft))

    def _command(self, draft: Draft) -> Iterator[str]:
        command = draft.command
        if command is None or command == "":
            yield "has no command: set the full path of a program, or a Python function"
        elif isinstance(command, (str, os.PathLike)):
            yield from self._path(os.fspath(command))
        elif not callable(command):
            yield f"command is {command!r:.80}: set the full path of a program, or a Python function"

    def _path(self, path: str) -> Iterator[str]:
        if not path.startswith("/"):
            yield f"command {path!r} is not a full path: it must begin with /"
            return
        if ".." in path.split("/"):
            yield f"command {path!r} contains ..: write the real path"
        if not path.isprintable() or " " in path:
            yield f"command {path!r} contains blanks or control characters, which GPFS may not keep: rename the program"
        if device := self._managed(path):
            yield (
                f"command {path} is on the GPFS file system {device}: move it to a local disk, or the callback and the"
                " file system may wait for each other"
            )
        file = Path(path)
        if file.is_dir() or (file.exists() and not os.access(file, os.X_OK)):
            yield f"command {path} is not an executable file on this node: run chmod +x"

    def _managed(self, path: str) -> str:
        """Return the mount point of the GPFS file system that contains *path*, or an empty text."""
        real = os.path.realpath(path)
        inside = [(len(at), kind, at) for at, kind in self.mounts() if f"{real}/".startswith(f"{at.rstrip('/')}/")]
        _, kind, at = max(inside, default=(0, "", ""))
        return at if kind in ("gpfs", "mmfs") else ""

    def _events(self, draft: Draft) -> Iterator[str]:
        if not draft.events:
            yield "has no event: name at least one"
        for each in draft.events:
            if not isinstance(each, str) or self.catalogue.get(each) is None:
                hint = self.catalogue.did_you_mean(each) if isinstance(each, str) else ""
                yield f"GPFS has no event {each!r}{hint or '; `clusterbus catalogue` lists them'}"

    def _dangers(self, draft: Draft) -> Iterator[str]:
        types = self._types(draft)
        risky = {each.name: why for each in types if (why := risks.of_event(each))}
        if not draft.is_function:
            risky |= risks.of_manner(sync=bool(draft.sync), onerror=draft.onerror)
        accepted = {str(each).lower() for each in draft.accept}
        for word, why in sorted(risky.items()):
            if not draft.force and word.lower() not in accepted:
                yield f"{word} is dangerous: {why}. To accept that, add accept=[{word!r}] or force=True"
        known = [*self.catalogue.events, risks.SYNC, risks.ONERROR]
        for each in sorted(accepted - {name.lower() for name in known}):
            yield f"accept: {each!r} is not a known danger{did_you_mean(each, known)}"

    def _types(self, draft: Draft) -> list[EventType]:
        return [found for each in draft.events if isinstance(each, str) and (found := self.catalogue.get(each))]

    def _parms(self, draft: Draft) -> Iterator[str]:
        wrong = [each for each in draft.parms if not isinstance(each, str) or not each.isprintable()]
        if wrong:
            yield f"parms: {wrong[0]!r:.80} is not a plain text"
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
            yield f"parms: {word!r}: a function gets values, so write %{name} as a separate word"
        elif qualifier and (qualifier not in _QUALIFIERS or (known is not None and not known.qualifiers)):
            yield f"parms: %{name}.{qualifier}: only variables with node names can have .{', .'.join(_QUALIFIERS)}"


def _identifier(draft: Draft) -> Iterator[str]:
    name = draft.identifier
    if not isinstance(name, str) or not name:
        yield "has no identifier: set callbackId"
        return
    if len(name) > LONGEST:
        yield f"the identifier has {len(name)} characters, and the limit is {LONGEST}, since a change appends {NEXT}"
    if _FORBIDDEN.search(name) or not name.isprintable():
        yield f"identifier {name!r:.80}: no colon, semicolon, comma, blank, tab or control character is allowed"
    for start in _RESERVED:
        if name.startswith(start):
            yield f"identifier {name!r:.80} begins with {start}, which is reserved for GPFS"
    if name.startswith(PREFIX):
        yield f"identifier {name!r:.80} begins with {PREFIX}: `clusterbus callbacks` would remove it"
    if name.endswith(NEXT):
        yield f"identifier {name!r:.80} ends with {NEXT}, which is reserved for changes"
    if name.startswith("-"):
        yield f"identifier {name!r:.80} begins with a dash, like an option"


def _nodes(draft: Draft) -> Iterator[str]:
    for each in draft.nodes:
        if not isinstance(each, str) or not each or _FORBIDDEN.search(each) or each.startswith(("-", "/")):
            yield f"nodes: {each!r:.80} is not the name of a node or of a node class"
            continue
        try:
            node_list([each])
        except InvalidNodeSet as error:
            yield str(error)


def _manner(draft: Draft) -> Iterator[str]:
    if isinstance(draft.priority, bool) or not isinstance(draft.priority, (int, float, type(None))):
        yield f"priority is {draft.priority!r:.40}, not a number"
    elif draft.priority is not None and not math.isfinite(draft.priority):
        yield f"priority is {draft.priority}, which is not finite"
    if not isinstance(draft.sync, bool):
        yield f"sync is {draft.sync!r:.40}: write True or False"
    if draft.timeout is not None and (
        isinstance(draft.seconds, bool) or not isinstance(draft.seconds, int) or not 0 < draft.seconds < 10**9
    ):
        yield f"timeout is {draft.timeout!r:.40}, not a number of whole seconds above 0"
    if draft.onerror not in (None, *ACTIONS):
        hint = did_you_mean(str(draft.onerror), ACTIONS)
        yield f"onError is {draft.onerror!r:.40}: write one of {', '.join(ACTIONS)}{hint}"
    for name, value in (("timeout", draft.timeout), ("onError", draft.onerror)):
        if value not in (None, CONTINUE) and not draft.sync:
            yield f"{name} {value} needs sync=True"


def _function(draft: Draft) -> Iterator[str]:
    away = "a consumer calls the function later, in its own process"
    if draft.sync:
        yield f"sync: GPFS cannot wait for a function: {away}"
    if draft.timeout is not None or draft.onerror not in (None, CONTINUE):
        yield f"timeout and onError apply only to a program that GPFS waits for: {away}"
    if draft.priority not in (None, -1):
        yield f"priority applies only to programs; {away}, and each function has its own queue"
