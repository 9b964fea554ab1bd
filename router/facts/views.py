"""Facts as filters and templates see them: plain values, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel


class Named(dict[str, Any]):
    """What is found by name: nodes by any spelling of theirs.

    A name that is not there, or null, is a group of nulls to templates, so that `| default('?')` works at any depth;
    `find` and `in` know better.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        model: type[BaseModel] | None = None,
        identity: Callable[[str], str | None] | None = None,
        groups: Mapping[str, Named] | None = None,
    ) -> None:
        """Hold *values*, each with the fields of *model*; *identity* tells what another spelling of a name means.

        Where there is no model *groups* are the values that are groups themselves, as they are where they are null;
        where there is one, they are those of each value.
        """
        super().__init__(values)
        self._blank = None if model is None else Named(dict.fromkeys(model.model_fields), groups=groups)
        self._groups = groups if model is None and groups else {}
        self._identity = identity

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - whatever the values are
        """Return what is called *name*, nulls where it is a group that is not known."""
        found = super().__getitem__(name)
        return self._groups.get(name) if found is None else found

    def __missing__(self, name: str) -> Any:  # noqa: ANN401 - whatever the values are
        """Return what *name* means in another spelling, or nulls."""
        found = self.find(name)
        return self._blank if found is None else found

    def find(self, name: str) -> Any:  # noqa: ANN401 - whatever the values are
        """Return what is called *name*, in whatever spelling; None where there is none."""
        own = self._identity(name) if self._identity and name not in self else name
        return None if own is None else self.get(own)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a cluster at some moment: *values*, None where there is nothing; what is missing, and why.

    *nulls* are the names of the values that there would be.
    """

    values: Mapping[str, Any] | None
    missing: str = ""
    nulls: Mapping[str, Any] = field(default_factory=dict)

    def for_templates(self) -> Mapping[str, Any]:
        """Return the values, nulls at every name where nothing is known."""
        values = self.values or {}
        return {**self.nulls, **{name: value for name, value in values.items() if value is not None}}
