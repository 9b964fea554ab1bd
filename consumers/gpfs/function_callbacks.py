"""Callbacks that call a function: a subscription with the verb `call`, and capture registered for the events.

Capture is never registered twice for an event, since that would capture each event twice: the registrar registers
capture for the events, and records which callbacks need them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from router.cluster.gpfs.cluster_nodes import Member, covered

from ..config import python_files
from ..config.event_samples import Kinds, Samples
from ..config.registrations import Registrations
from ..verbs.call.arguments import Arguments
from ..verbs.call.references import Target, Unusable
from .draft import Draft
from .errors import AlreadyThere, Invalid, NotDone, NotThere, Unwritable
from .functions.kept_function import Kept
from .functions.module_writer import Written, write
from .functions.storage import Folder, Stored
from .site import Site


class Subscribing:
    """Creates, changes and deletes the function callbacks of a site."""

    def __init__(self, site: Site) -> None:
        """Work on the callbacks of *site*."""
        self._site = site

    @property
    def _folder(self) -> Folder:
        return self._site.folder

    @property
    def _dry(self) -> bool:
        return self._site.commands.dry_run

    def all(self) -> list[Stored]:
        """Return all function callbacks.  Raises NotDone."""
        return self._folder.all()

    def get(self, identifier: str) -> Stored | None:
        """Return the callback *identifier*, or None if it does not exist.  Raises NotDone."""
        return self._folder.get(identifier)

    def mistakes(self, draft: Draft) -> Iterator[str]:
        """Yield why the function of *draft* cannot be stored, or cannot be called for its events."""
        try:
            self._called(draft.command)
            arguments = Arguments(_target(draft.command), {}, draft.words)
            catalogue = self._site.catalogue
            known = [found for each in draft.events if isinstance(each, str) and (found := catalogue.get(each))]
            remarks = arguments.remarks(Kinds.of(known, Samples(Registrations(self._site.catalogues))))
            yield from (each.message for each in remarks if not each.warning)
        except (Unwritable, Unusable, NotDone) as error:
            yield str(error)

    def create(self, draft: Draft) -> None:
        """Install the function, unless it is installed.  Raises AlreadyThere, NotDone, and GpfsError."""
        where = self._where(draft)
        if self._dry:
            self._ask(draft, draft.events)
            return
        with self._folder.locked():
            wanted, written = self._wanted(draft, where)
            there = self._folder.get(draft.identifier)
            if there == wanted:
                # Request capture again: `clusterbus callbacks remove` may have removed it.
                self._ask(draft, wanted.events, before=wanted.events)
                return
            if there is not None:
                raise AlreadyThere(f"{draft.identifier} already exists and is different: use change(), or delete() it")
            if written is not None:
                self._folder.put_module(draft.identifier, written.text)
            try:
                self._ask(draft, wanted.events)
            except Exception:
                self._folder.remove_module(draft.identifier)
                raise
            self._folder.put(wanted, self._site.catalogue)

    def change(self, draft: Draft) -> None:
        """Change the subscription to *draft*; the function stays.  Raises NotThere, NotDone and GpfsError."""
        where = self._where(draft)
        there = self._folder.get(draft.identifier)
        if there is None:
            raise NotThere("callback", draft.identifier, [each.identifier for each in self.all()])
        wanted = replace(self._stored(draft, where), reference=there.reference, digest=there.digest)
        if self._dry:
            self._ask(draft, wanted.events)
            return
        with self._folder.locked():
            # Capture old and new events during the change, so that no event is missed.
            both = tuple(dict.fromkeys((*there.events, *wanted.events)))
            self._ask(draft, both, before=there.events)
            self._folder.put(wanted, self._site.catalogue)
            if both != wanted.events:
                self._ask(draft, wanted.events, before=wanted.events)

    def delete(self, identifier: str) -> None:
        """Remove the function callback; completes an interrupted delete.  Raises NotDone and GpfsError."""
        if self._dry:
            self._site.asker.withdraw(identifier)
            return
        with self._folder.locked():
            # Remove the subscription late, so that an interrupted delete can be repeated.
            there = self._folder.get(identifier)
            self._site.asker.withdraw(identifier, there.events if there else ())
            self._folder.remove(identifier)
            self._folder.remove_module(identifier)

    def has_left(self, identifier: str) -> bool:
        """Return whether any file of *identifier* exists, including remains of an interrupted create or delete."""
        return self._folder.get(identifier) is not None or self._folder.has_module(identifier)

    def _wanted(self, draft: Draft, where: str) -> tuple[Stored, Written | None]:
        reference, written = self._called(draft.command)
        stored = self._stored(draft, where)
        if written is None:
            return replace(stored, reference=reference), None
        path = self._folder.module(draft.identifier)
        digest = python_files.digest(str(path), written.text.encode())
        return replace(stored, reference=f"{path}:{written.name}", digest=digest), written

    def _stored(self, draft: Draft, where: str) -> Stored:
        events = tuple(dict.fromkeys(self._site.catalogue.event(each).name for each in draft.events))
        return Stored(
            identifier=draft.identifier,
            events=events,
            reference="",
            nodes=draft.nodes,
            parms=draft.words,
            file_system=draft.file_system,
            fileset=draft.fileset,
            accept=draft.accept,
            where=where,
        )

    def _called(self, function: Any) -> tuple[str, Written | None]:  # noqa: ANN401 - whatever is called
        """Return the reference by which a consumer finds *function*, or the module to write.  Raises Unwritable."""
        if isinstance(function, Kept):
            return function.reference, None
        reference = self._site.importables.reference(function)
        return (reference, None) if reference else ("", write(function, self._site.importables))

    def _ask(self, draft: Draft, events: Sequence[str], before: Sequence[str] = ()) -> None:
        """Register capture for *events*; if GPFS refuses that, restore the events *before* and raise NotDone."""
        applied = self._site.asker.ask_for(draft.identifier, events)
        lacking = {each: why for each, why in applied.lacking.items() if each in draft.events}
        if not applied.refused and not lacking:
            return
        if before:
            self._site.asker.ask_for(draft.identifier, before)
        else:
            self._site.asker.withdraw(draft.identifier, events)
        reasons = "\n".join(f"{name}: {why}" for name, why in {**applied.refused, **lacking}.items())
        effect = "the callback is not changed" if before else "the callback is not created"
        raise NotDone(f"{draft.identifier}: GPFS refuses to register capture, so {effect}:\n{reasons}")

    def _where(self, draft: Draft) -> str:
        """Return the filter of *draft*.  Raises Invalid for an unknown node, and GpfsError."""
        scope = (("fsName", draft.file_system), ("filesetName", draft.fileset))
        parts = [f"data.{name} == {_quoted(value)}" for name, value in scope if value]
        if draft.nodes and "all" not in draft.nodes:
            names = sorted(_names(draft, self._site.members()))
            node = f"node in [{', '.join(map(_quoted, names))}]"
            scopes = {self._site.catalogue.event(each).scope for each in draft.events}
            if scopes == {"local"}:
                parts.append(node)
            elif "local" in scopes:
                # All nodes notice a global event, and any of them may report it first.
                parts.append(f'(scope == "global" || {node})')
        return " && ".join(parts)


def _target(function: Callable[..., Any]) -> Target:
    if isinstance(function, Kept):
        return function.target()
    return Target(function, sys.modules[__name__])


def _names(draft: Draft, cluster: Sequence[Member]) -> set[str]:
    """Return the names of the nodes of *draft* as in events.  Raises Invalid."""
    found: set[str] = set()
    mistakes = []
    for each in draft.nodes:
        names = covered(cluster, [each])
        if names:
            found |= names
        else:
            message = f"nodes: the cluster has no node {each!r}; node classes of the site are not supported"
            mistakes.append(f"{message}: name its nodes")
    if mistakes:
        raise Invalid(draft.identifier, mistakes)
    return found


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
