"""A stored function, known by its reference and loaded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...verbs.call.references import Target, Unusable, find
from ..errors import NotDone


@dataclass(frozen=True, slots=True)
class Kept:
    """The function that *reference* names; calling this object calls the function."""

    reference: str
    digest: str | None = None
    folders: Sequence[Path] = ()

    def target(self) -> Target:
        """Return the target as a consumer finds it; runs its module.  Raises Unusable."""
        return find(self.reference, self.folders, self.digest)

    def load(self) -> Any:  # noqa: ANN401 - any function
        """Return the function itself.  Raises NotDone."""
        try:
            return self.target().make()
        except Unusable as error:
            raise NotDone(f"{self.reference}: {error}") from error

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - any function
        """Load and call the function."""
        return self.load()(*arguments, **keywords)
