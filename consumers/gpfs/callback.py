"""`Callback`, with the names and meanings of the ArcaPix API.

A program is registered with GPFS under the identifier of the callback, and GPFS runs it.  A function becomes a
subscription with the verb `call`, and GPFS runs capture.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from router.cluster.callbacks.gpfs.plan import is_ours

from . import lookup
from .draft import CONTINUE, Draft
from .errors import AlreadyThere, Invalid, NotThere
from .function_callbacks import Subscribing
from .functions.kept_function import Kept
from .keywords import CHANGEABLE, MEMBERS, given
from .program_callbacks import Registering
from .site import Site, site
from .this_node import resolved


class Callback:
    """A program or a function that runs when an event occurs.

    `Callback("test1", "/tmp/myscript.sh", "startup")` is a new callback, which `create` installs; `Callback("test1")`
    is the installed one.  Raises UnknownKeyword, NotThere, and the errors of commands.
    """

    def __init__(
        self,
        callbackId: str | None = None,  # noqa: N803 - the ArcaPix API
        command: Any = None,  # noqa: ANN401 - a path or a function
        event: str | Iterable[str] | None = None,
        **keywords: Any,  # noqa: ANN401 - checked by `validate`
    ) -> None:
        """Keep the arguments; with only an identifier, read the installed callback."""
        leading = {"callbackId": callbackId, "command": command, "event": event}
        fields = given({**{name: value for name, value in leading.items() if value is not None}, **keywords})
        if set(fields) == {"identifier"}:
            self._draft = lookup.found(site(), fields["identifier"])
        else:
            self._draft = lookup.identified(Draft(**fields))

    @classmethod
    def _of(cls, draft: Draft) -> Callback:
        made = cls.__new__(cls)
        made._draft = lookup.identified(draft)  # noqa: SLF001 - an object of this class
        return made

    @classmethod
    def _scoped(cls, event: str, keywords: Mapping[str, Any], *, node: str, file_system: str, fileset: str) -> Callback:
        fields = given(keywords)
        for name, value in (("events", event), ("nodes", node)):
            if name in fields and value:
                raise Invalid(str(fields.get("identifier", "")), [f"{name} is always {value} here: remove it"])
        nodes = (node,) if node else fields.pop("nodes", ())
        scope = {"events": (event,), "nodes": nodes, "file_system": file_system, "fileset": fileset}
        return cls._of(Draft(**{**fields, **scope}))

    @property
    def callbackId(self) -> str:  # noqa: N802 - the ArcaPix API
        """The identifier of the callback."""
        return str(self._draft.identifier)

    id = name = callbackId

    @property
    def command(self) -> Any:  # noqa: ANN401 - a path or a function
        """The path of the program, or the function."""
        command = self._draft.command
        if isinstance(command, Kept):
            return command.load()
        return os.fspath(command) if isinstance(command, os.PathLike) else command

    @property
    def script(self) -> str:
        """The path of the program that GPFS runs; for a function, of capture."""
        return str(site().settings.gpfs.command) if self._draft.is_function else str(self.command)

    @property
    def function(self) -> Callable[..., Any]:
        """The function; for a program, a function that runs it with the given words and returns its exit code."""
        return self.command if self._draft.is_function else _runs(str(self.command))

    @property
    def events(self) -> list[str]:
        """The names of the events, spelled as in the catalogue."""
        known = site().catalogue
        return [found.name if (found := known.get(str(each))) else str(each) for each in self._draft.events]

    @property
    def nodes(self) -> list[str]:
        """The nodes of the callback; an empty list means all nodes."""
        return list(self._draft.nodes)

    @property
    def parms(self) -> list[str]:
        """The parameters that were set, without those that a function reads by the names of its parameters."""
        return list(self._draft.parms)

    @property
    def priority(self) -> float:
        """The priority; smaller numbers run first; -1 if it is not set."""
        return -1.0 if self._draft.priority is None else float(self._draft.priority)

    @property
    def sync(self) -> bool:
        """Whether GPFS waits for the program."""
        return bool(self._draft.sync)

    @property
    def timeout(self) -> int | None:
        """How many seconds GPFS waits; None if it is not set."""
        return self._draft.seconds

    @property
    def onError(self) -> str:  # noqa: N802 - the ArcaPix API
        """What GPFS does if the program fails: continue, quorumLoss or shutdown."""
        return self._draft.onerror or CONTINUE

    @property
    def filesystem(self) -> str | None:
        """The file system whose events call the function; None means any."""
        return self._draft.file_system or None

    @property
    def fileset(self) -> str | None:
        """The fileset whose events call the function; None means any."""
        return self._draft.fileset or None

    def validate(self) -> None:
        """Raise Invalid with all mistakes that can be found without running a command."""
        _check(site(), self._draft)

    def create(self) -> None:
        """Install the callback; do nothing if the same callback is installed.

        Raises Invalid, AlreadyThere if another callback has the identifier, NotDone, and the errors of commands.
        """
        here, draft = site(), self._draft
        _check(here, draft)
        draft = resolved(here, draft)
        programs, functions = Registering(here.commands, here.catalogue), Subscribing(here)
        other = programs.get(draft.identifier) if draft.is_function else functions.get(draft.identifier)
        if other is not None:
            kind = "program" if draft.is_function else "function"
            raise AlreadyThere(f"{draft.identifier} already exists, for a {kind}: delete() it, or use another name")
        if draft.is_function:
            functions.create(draft)
        else:
            programs.create(draft.registered(here.catalogue))
        self._draft = draft

    def delete(self) -> None:
        """Delete the callback and the remains of an interrupted change.  Raises NotThere, and errors of commands."""
        here = site()
        if is_ours(self.id):
            raise Invalid(self.id, ["belongs to `clusterbus callbacks`, which removes it; all consumers depend on it"])
        functions, programs = Subscribing(here), Registering(here.commands, here.catalogue)
        is_left = functions.has_left(self.id)
        if is_left:
            functions.delete(self.id)
        # An interrupted create of a function leaves its module; then a program may have the same identifier.
        if not is_left or programs.get(self.id) is not None:
            try:
                programs.delete(self.id)
            except NotThere:
                # An interrupted create may have left a request for capture.
                here.asker.withdraw(self.id)
                raise

    def add(self, **keywords: Any) -> None:  # noqa: ANN401 - events and nodes
        """Add *events* or *nodes*; raises the errors of `change`."""
        wanted = given(keywords, MEMBERS)
        fields = _takes(wanted)
        for name in ("events", "nodes"):
            # Without a list it is already on all nodes.
            if name in wanted and (name == "events" or self._draft.nodes):
                fields[name] = tuple(dict.fromkeys((*getattr(self._draft, name), *self._same(name, wanted[name]))))
        self._change(fields)

    def remove(self, **keywords: Any) -> None:  # noqa: ANN401 - events and nodes
        """Remove *events* or *nodes*; raises Invalid if none would be left, and the errors of `change`."""
        wanted = given(keywords, MEMBERS)
        fields, mistakes = _takes(wanted), []
        for name in ("events", "nodes"):
            before, gone = getattr(self._draft, name), self._same(name, wanted.get(name, ()))
            missing = [each for each in gone if each not in before]
            if missing and (name == "events" or before):
                mistakes.append(f"{name}: it has no {', '.join(map(repr, missing))}, but {', '.join(before)}")
            elif gone and not before:
                mistakes.append(f"{name}: it is on all nodes: use change(nodes=[...]) to name those that stay")
            elif gone and set(gone) >= set(before):
                none = "use delete() to remove it" if name == "events" else "an empty list would mean all nodes"
                mistakes.append(f"{name}: nothing would be left: {none}")
            elif gone:
                fields[name] = tuple(each for each in before if each not in gone)
        if mistakes:
            raise Invalid(self.id, mistakes)
        self._change(fields)

    def change(self, **keywords: Any) -> None:  # noqa: ANN401 - checked as a whole
        """Change nodes, events, parms, sync, timeout, onerror or priority.

        GPFS has no command to change a callback: for a moment the old and the new version both exist, so an event may
        run the program twice, but no event is missed.  Raises Invalid, NotThere, NotDone, and the errors of commands.
        """
        self._change(given(keywords, CHANGEABLE))

    def _change(self, fields: Mapping[str, Any]) -> None:
        here = site()
        accept = (*self._draft.accept, *fields.get("accept", ()))
        draft = replace(self._draft, **{**fields, "accept": accept})
        _check(here, draft)
        draft = resolved(here, draft)
        if draft.is_function:
            Subscribing(here).change(draft)
        else:
            Registering(here.commands, here.catalogue).change(draft.registered(here.catalogue))
        self._draft = draft

    def _same(self, name: str, words: Iterable[Any]) -> tuple[Any, ...]:
        """Return *words* spelled as in the callback."""
        if name == "events":
            known = site().catalogue
            return tuple(found.name if (found := known.get(str(each))) else each for each in words)
        nodes = resolved(site(), Draft(nodes=tuple(words))).nodes
        if set(nodes) <= set(self._draft.nodes):
            return nodes
        # GPFS may list a node under another of its names.
        called = {name: each.names for each in site().members() for name in each.names}
        there = {name: own for own in self._draft.nodes for name in called.get(own.lower(), ())}
        return tuple(there.get(str(each).lower(), each) for each in nodes)

    def __repr__(self) -> str:
        """Return a description of the callback."""
        return f"Callback({self.id!r}, {self._draft.command!r}, {self.events!r})"

    def __str__(self) -> str:
        """Return the identifier."""
        return self.id


def all_of(here: Site) -> list[Callback]:
    """Return all installed callbacks: programs, then functions.  Raises GpfsError and NotDone."""
    return [Callback._of(each) for each in lookup.every(here)]  # noqa: SLF001 - of this module


def _takes(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in ("accept", "force")}


def _check(here: Site, draft: Draft) -> None:
    mistakes = here.rules.mistakes(draft)
    if draft.is_function:
        mistakes += Subscribing(here).mistakes(draft)
    elif draft.file_system:
        reason = "GPFS cannot run a program for only one file system"
        mistakes.append(f"{reason}: use a Python function, or test %fsName in the program")
    if mistakes:
        raise Invalid(str(draft.identifier), mistakes)


def _runs(path: str) -> Callable[..., int]:
    def run(*parms: object) -> int:
        """Run the program with *parms*, and return its exit code."""
        return subprocess.run([path, *map(str, parms)], check=False).returncode

    return run
