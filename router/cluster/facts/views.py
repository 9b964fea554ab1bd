"""Facts as filters and templates see them: plain values, looked up by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel


class Named(dict[str, Any]):
    """Values that are looked up by name; a node is found by any spelling of its name.

    For templates, a name that is missing or null gives a group of nulls, so that `| default('?')` works at any depth.
    `find` and `in` tell missing names apart.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        model: type[BaseModel] | None = None,
        identity: Callable[[str], str | None] | None = None,
        groups: Mapping[str, Named] | None = None,
    ) -> None:
        """Hold *values*, each with the fields of *model*; *identity* maps other spellings to the right name.

        *groups* gives the replacement for values that are groups themselves and are null: for these values if there is
        no *model*, and otherwise for the fields of each value.
        """
        super().__init__(values)
        self._blank = None if model is None else Named(dict.fromkeys(model.model_fields), groups=groups)
        self._groups = groups if model is None and groups else {}
        self._identity = identity

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - whatever the values are
        """Return the value of *name*; an unknown group gives nulls."""
        found = super().__getitem__(name)
        return self._groups.get(name) if found is None else found

    def __missing__(self, name: str) -> Any:  # noqa: ANN401 - whatever the values are
        """Return the value of another spelling of *name*, or nulls."""
        found = self.find(name)
        return self._blank if found is None else found

    def find(self, name: str) -> Any:  # noqa: ANN401 - whatever the values are
        """Return the value of *name* in any spelling, or None."""
        own = self._identity(name) if self._identity and name not in self else name
        return None if own is None else self.get(own)


@dataclass(frozen=True, slots=True)
class Known:
    """The facts of a cluster at one moment: *values*, or None if nothing is known; *missing* says what, and why.

    *nulls* gives a null for the name of every possible value.  *confirmed* says by part when it was last read.
    """

    values: Mapping[str, Any] | None
    missing: str = ""
    nulls: Mapping[str, Any] = field(default_factory=dict)
    confirmed: Mapping[str, datetime] = field(default_factory=dict)

    def for_templates(self) -> Mapping[str, Any]:
        """Return the values, with nulls for all names that are not known."""
        values = self.values or {}
        return {**self.nulls, **{name: value for name, value in values.items() if value is not None}}
