"""What names and parts of an expression may be, where it is evaluated.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..cel_syntax.tree import Name, Node, walk
from .domains import Domain


@dataclass(frozen=True, slots=True)
class Scope:
    """What each name may be, and what is *known* of parts of the expression from conditions that hold."""

    names: Mapping[str, Domain]
    known: Mapping[Node, Domain] = field(default_factory=dict)

    def knowing(self, node: Node, domain: Domain) -> Scope:
        """Return this scope, in which *node* is in *domain*."""
        return replace(self, known={**self.known, node: domain})

    def binding(self, name: str, domain: Domain) -> Scope:
        """Return this scope within a macro that binds *name*."""
        hidden = {
            each: known for each, known in self.known.items() if all(part != Name(name) for part, _ in walk(each))
        }
        return Scope({**self.names, name: domain}, hidden)
