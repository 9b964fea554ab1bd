"""Callbacks that call a function: a subscription `call` for the consumer, and capture registered for their events.

Capture is never registered once more for a callback, which would make two events of one: the registrar is asked to
have the events captured, and remembers for whom.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from router.sources.gpfs.membership import Member, covered

from .. import handlers
from ..kinds import Kinds
from ..verbs.call.arguments import Arguments
from ..verbs.call.references import Target, Unusable
from .drafts import Draft
from .errors import AlreadyThere, Invalid, NotDone, NotThere, Unwritable
from .folder import Folder, Stored
from .kept import Kept
from .site import Site
from .writing import Written, write


class Subscribing:
    """The function callbacks of a site, changed one at a time."""

    def __init__(self, site: Site) -> None:
        """Work on *site*."""
        self._site = site

    @property
    def _folder(self) -> Folder:
        return self._site.folder

    @property
    def _dry(self) -> bool:
        return self._site.commands.dry_run

    def all(self) -> list[Stored]:
        """Return all of them.  Raises NotDone."""
        return self._folder.all()

    def get(self, identifier: str) -> Stored | None:
        """Return the callback *identifier*, None where there is none.  Raises NotDone."""
        return self._folder.get(identifier)

    def mistakes(self, draft: Draft) -> Iterator[str]:
        """Yield why the function of *draft* can't be written down, or can't be called with what its events have."""
        try:
            self._called(draft.command)
            arguments = Arguments(_target(draft.command), {}, draft.words)
            catalogue = self._site.catalogue
            known = [found for each in draft.events if isinstance(each, str) and (found := catalogue.get(each))]
            remarks = arguments.remarks(Kinds.of(known, self._site.catalogues))
            yield from (each.message for each in remarks if not each.warning)
        except (Unwritable, Unusable, NotDone) as error:
            yield str(error)

    def create(self, draft: Draft) -> None:
        """Have the function called from now on, unless it is.  Raises AlreadyThere, NotDone, and GpfsError."""
        where = self._where(draft)
        if self._dry:
            self._ask(draft, draft.events)
            return
        with self._folder.locked():
            wanted, written = self._wanted(draft, where)
            there = self._folder.get(draft.identifier)
            if there == wanted:
                # `clusterbus callbacks remove` forgets what was asked for.
                self._ask(draft, wanted.events, before=wanted.events)
                return
            if there is not None:
                raise AlreadyThere(f"{draft.identifier} is there already, and another: use change(), or delete() it")
            if written is not None:
                self._folder.put_module(draft.identifier, written.text)
            try:
                self._ask(draft, wanted.events)
            except Exception:
                self._folder.remove_module(draft.identifier)
                raise
            self._folder.put(wanted, self._site.catalogue)

    def change(self, draft: Draft) -> None:
        """Have the subscription be as *draft* says; the function stays.  Raises NotThere, NotDone and GpfsError."""
        where = self._where(draft)
        there = self._folder.get(draft.identifier)
        if there is None:
            raise NotThere("callback", draft.identifier, [each.identifier for each in self.all()])
        wanted = replace(self._stored(draft, where), reference=there.reference, digest=there.digest)
        if self._dry:
            self._ask(draft, wanted.events)
            return
        with self._folder.locked():
            # Captured as long as it is subscribed to: what comes first, what goes last.
            both = tuple(dict.fromkeys((*there.events, *wanted.events)))
            self._ask(draft, both, before=there.events)
            self._folder.put(wanted, self._site.catalogue)
            if both != wanted.events:
                self._ask(draft, wanted.events, before=wanted.events)

    def delete(self, identifier: str) -> None:
        """Have it called no more; finishes a delete that was interrupted.  Raises NotDone and GpfsError."""
        if self._dry:
            self._site.asker.let_go(identifier)
            return
        with self._folder.locked():
            # As long as it is there it can be deleted once more, wherever this is broken off.
            there = self._folder.get(identifier)
            self._site.asker.let_go(identifier, there.events if there else ())
            self._folder.remove(identifier)
            self._folder.remove_module(identifier)

    def has_left(self, identifier: str) -> bool:
        """Say whether something of *identifier* is there, be it what a create or a delete left that was killed."""
        return self._folder.get(identifier) is not None or self._folder.has_module(identifier)

    def _wanted(self, draft: Draft, where: str) -> tuple[Stored, Written | None]:
        reference, written = self._called(draft.command)
        stored = self._stored(draft, where)
        if written is None:
            return replace(stored, reference=reference), None
        path = self._folder.module(draft.identifier)
        digest = handlers.digest(str(path), written.text.encode())
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
            accept=draft.accept,
            where=where,
        )

    def _called(self, function: Any) -> tuple[str, Written | None]:  # noqa: ANN401 - whatever is called
        """Return what a consumer finds *function* by, or the module to write.  Raises Unwritable."""
        if isinstance(function, Kept):
            return function.reference, None
        reference = self._site.importables.reference(function)
        return (reference, None) if reference else ("", write(function, self._site.importables))

    def _ask(self, draft: Draft, events: Sequence[str], before: Sequence[str] = ()) -> None:
        """Have *events* captured; raises NotDone where GPFS does not take that, and asks for those *before* again."""
        applied = self._site.asker.ask_for(draft.identifier, events)
        lacking = {each: said for each, said in applied.lacking.items() if each in draft.events}
        if not applied.refused and not lacking:
            return
        if before:
            self._site.asker.ask_for(draft.identifier, before)
        else:
            self._site.asker.let_go(draft.identifier, events)
        said = "\n".join(f"{name}: {why}" for name, why in {**applied.refused, **lacking}.items())
        stays = "it stays as it was" if before else "nothing is called"
        raise NotDone(f"{draft.identifier}: GPFS does not take the registration of capture, so {stays}:\n{said}")

    def _where(self, draft: Draft) -> str:
        """Return the filter of *draft*.  Raises Invalid for what is no node, and GpfsError."""
        parts = [f"data.fsName == {_quoted(draft.file_system)}"] if draft.file_system else []
        if draft.nodes and "all" not in draft.nodes:
            names = sorted(_names(draft, self._site.members()))
            node = f"node in [{', '.join(map(_quoted, names))}]"
            scopes = {self._site.catalogue.event(each).scope for each in draft.events}
            if scopes == {"local"}:
                parts.append(node)
            elif "local" in scopes:
                # All nodes notice a global one, and whose report comes first is chance.
                parts.append(f'(scope == "global" || {node})')
        return " && ".join(parts)


def _target(function: Callable[..., Any]) -> Target:
    if isinstance(function, Kept):
        return function.target()
    return Target(function, sys.modules[__name__])


def _names(draft: Draft, cluster: Sequence[Member]) -> set[str]:
    """Return the names of *draft*'s nodes as events have them.  Raises Invalid."""
    found: set[str] = set()
    mistakes = []
    for each in draft.nodes:
        names = covered(cluster, [each])
        if names:
            found |= names
        else:
            message = f"nodes: the cluster has no node {each!r}; a class of the site can't be told apart by events"
            mistakes.append(f"{message}: name its nodes")
    if mistakes:
        raise Invalid(draft.identifier, mistakes)
    return found


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
