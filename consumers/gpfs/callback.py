"""`Callback`: what the seed's API calls one, with its names and their meaning.

A program is registered with GPFS under the callback's own identifier, and GPFS runs it.  A function becomes a
subscription `call`, and capture is what GPFS runs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from router.sources.gpfs.plans import is_ours

from . import finding
from .drafts import CONTINUE, Draft
from .errors import AlreadyThere, Invalid, NotThere
from .here import resolved
from .kept import Kept
from .keywords import CHANGEABLE, MEMBERS, given
from .registering import Registering
from .site import Site, site
from .subscribing import Subscribing


class Callback:
    """A program or a function that is run when an event occurs.

    `Callback("test1", "/tmp/myscript.sh", "startup")` is a new one, to be installed by `create`; `Callback("test1")`
    is the one that is there.  Raises UnknownKeyword, NotThere, and what the commands raise.
    """

    def __init__(
        self,
        callbackId: str | None = None,  # noqa: N803 - the seed's API
        command: Any = None,  # noqa: ANN401 - a path or a function
        event: str | Iterable[str] | None = None,
        **keywords: Any,  # noqa: ANN401 - checked as a whole by `validate`
    ) -> None:
        """Keep what is given; only where nothing but an identifier is given something is read."""
        leading = {"callbackId": callbackId, "command": command, "event": event}
        fields = given({**{name: value for name, value in leading.items() if value is not None}, **keywords})
        if set(fields) == {"identifier"}:
            self._draft = finding.found(site(), fields["identifier"])
        else:
            self._draft = finding.identified(Draft(**fields))

    @classmethod
    def _of(cls, draft: Draft) -> Callback:
        made = cls.__new__(cls)
        made._draft = finding.identified(draft)  # noqa: SLF001 - our own, just made
        return made

    @classmethod
    def _scoped(cls, event: str, node: str, file_system: str, keywords: Mapping[str, Any]) -> Callback:
        fields = given(keywords)
        for name, value in (("events", event), ("nodes", node)):
            if name in fields and value:
                raise Invalid(str(fields.get("identifier", "")), [f"{name} is {value} here: leave it out"])
        nodes = (node,) if node else fields.pop("nodes", ())
        return cls._of(Draft(**{**fields, "events": (event,), "nodes": nodes, "file_system": file_system}))

    @property
    def callbackId(self) -> str:  # noqa: N802 - the seed's API
        """The identifier."""
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
        """The path of what GPFS runs: for a function, capture."""
        return str(site().settings.gpfs.command) if self._draft.is_function else str(self.command)

    @property
    def function(self) -> Callable[..., Any]:
        """The function; for a program, one that runs it with what it is given, and returns its exit code."""
        return self.command if self._draft.is_function else _runs(str(self.command))

    @property
    def events(self) -> list[str]:
        """The events, as the catalogue spells them."""
        known = site().catalogue
        return [found.name if (found := known.get(str(each))) else str(each) for each in self._draft.events]

    @property
    def nodes(self) -> list[str]:
        """The nodes that it was installed on; none is all."""
        return list(self._draft.nodes)

    @property
    def parms(self) -> list[str]:
        """The parameters that were given; what a function asks for by its own names is not among them."""
        return list(self._draft.parms)

    @property
    def priority(self) -> float:
        """Smaller runs first; -1 where it is not set."""
        return -1.0 if self._draft.priority is None else float(self._draft.priority)

    @property
    def sync(self) -> bool:
        """Whether GPFS waits for it."""
        return bool(self._draft.sync)

    @property
    def timeout(self) -> int | None:
        """How many seconds GPFS waits at the most; None where it is not set."""
        return self._draft.seconds

    @property
    def onError(self) -> str:  # noqa: N802 - the seed's API
        """What GPFS does where it fails: continue, quorumLoss or shutdown."""
        return self._draft.onerror or CONTINUE

    @property
    def filesystem(self) -> str | None:
        """The file system whose events it is called for; None is any."""
        return self._draft.file_system or None

    def validate(self) -> None:
        """Raise Invalid with everything that is wrong, as far as it can be told without running a command."""
        _check(site(), self._draft)

    def create(self) -> None:
        """Install it; nothing is done where it is there as it is.

        Raises Invalid, AlreadyThere where something else has its identifier, NotDone, and what the commands raise.
        """
        here, draft = site(), self._draft
        _check(here, draft)
        draft = resolved(here, draft)
        programs, functions = Registering(here.commands, here.catalogue), Subscribing(here)
        other = programs.get(draft.identifier) if draft.is_function else functions.get(draft.identifier)
        if other is not None:
            kind = "program" if draft.is_function else "function"
            raise AlreadyThere(f"{draft.identifier} is there already, for a {kind}: delete() it, or take another name")
        if draft.is_function:
            functions.create(draft)
        else:
            programs.create(draft.registered(here.catalogue))
        self._draft = draft

    def delete(self) -> None:
        """Take it away, and what an interrupted change left of it.  Raises NotThere, and what the commands raise."""
        here = site()
        if is_ours(self.id):
            raise Invalid(self.id, ["is of `clusterbus callbacks`, and all consumers live on it: that takes it away"])
        functions, programs = Subscribing(here), Registering(here.commands, here.catalogue)
        is_left = functions.has_left(self.id)
        if is_left:
            functions.delete(self.id)
        # A create of a function that was killed leaves its module, and then a program may have the identifier.
        if not is_left or programs.get(self.id) is not None:
            try:
                programs.delete(self.id)
            except NotThere:
                # A create that was killed may have left that capture is asked for.
                here.asker.let_go(self.id)
                raise

    def add(self, **keywords: Any) -> None:  # noqa: ANN401 - events and nodes
        """Add *events* or *nodes*; raises as `change`."""
        wanted = given(keywords, MEMBERS)
        fields = _takes(wanted)
        for name in ("events", "nodes"):
            # On all nodes already, where there is no list.
            if name in wanted and (name == "events" or self._draft.nodes):
                fields[name] = tuple(dict.fromkeys((*getattr(self._draft, name), *self._same(name, wanted[name]))))
        self._change(fields)

    def remove(self, **keywords: Any) -> None:  # noqa: ANN401 - events and nodes
        """Remove *events* or *nodes*; raises Invalid where none would be left, and as `change`."""
        wanted = given(keywords, MEMBERS)
        fields, mistakes = _takes(wanted), []
        for name in ("events", "nodes"):
            before, gone = getattr(self._draft, name), self._same(name, wanted.get(name, ()))
            missing = [each for each in gone if each not in before]
            if missing and (name == "events" or before):
                mistakes.append(f"{name}: it has no {', '.join(map(repr, missing))}, but {', '.join(before)}")
            elif gone and not before:
                mistakes.append(f"{name}: it is on all of them: say by change(nodes=[...]) which are to stay")
            elif gone and set(gone) >= set(before):
                none = "delete() takes it away" if name == "events" else "no list at all would mean all nodes"
                mistakes.append(f"{name}: nothing would be left: {none}")
            elif gone:
                fields[name] = tuple(each for each in before if each not in gone)
        if mistakes:
            raise Invalid(self.id, mistakes)
        self._change(fields)

    def change(self, **keywords: Any) -> None:  # noqa: ANN401 - checked as a whole
        """Change nodes, events, parms, sync, timeout, onerror or priority.

        GPFS has no command for that: for a moment the old and the new one are both there, so an event may run it
        twice, and none falls between.  Raises Invalid, NotThere, NotDone, and what the commands raise.
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
        """Return *words* spelled as the callback has them."""
        if name == "events":
            known = site().catalogue
            return tuple(found.name if (found := known.get(str(each))) else each for each in words)
        nodes = resolved(site(), Draft(nodes=tuple(words))).nodes
        if set(nodes) <= set(self._draft.nodes):
            return nodes
        # GPFS may list a node by another of its names.
        called = {name: each.names for each in site().members() for name in each.names}
        there = {name: own for own in self._draft.nodes for name in called.get(own.lower(), ())}
        return tuple(there.get(str(each).lower(), each) for each in nodes)

    def __repr__(self) -> str:
        """Return what it is, for people."""
        return f"Callback({self.id!r}, {self._draft.command!r}, {self.events!r})"

    def __str__(self) -> str:
        """Return the identifier."""
        return self.id


def all_of(here: Site) -> list[Callback]:
    """Return all callbacks that are there: programs, then functions.  Raises GpfsError and NotDone."""
    return [Callback._of(each) for each in finding.every(here)]  # noqa: SLF001 - our own


def _takes(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in ("accept", "force")}


def _check(here: Site, draft: Draft) -> None:
    mistakes = here.rules.mistakes(draft)
    if draft.is_function:
        mistakes += Subscribing(here).mistakes(draft)
    elif draft.file_system:
        told = "GPFS can't run a program for one file system only"
        mistakes.append(f"{told}: give a Python function, or look at %fsName in the program")
    if mistakes:
        raise Invalid(str(draft.identifier), mistakes)


def _runs(path: str) -> Callable[..., int]:
    def run(*parms: object) -> int:
        """Run the program with *parms*, and return its exit code."""
        return subprocess.run([path, *map(str, parms)], check=False).returncode

    return run
