"""Reads files of actions: all mistakes in one run, each with its file, line, action and key.

Actions of this site win over shipped ones of the same name, so that a new release changes none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from router.settings import bounded_files, model_parts, yaml_documents
from router.settings.models import ConsumersSettings, Settings
from router.settings.yaml_documents import Document, Place

from ...errors import Mistake
from ...verbs.action import definition_checks
from ...verbs.action.definitions import Action, ActionFile
from .. import mistake_texts, retry_checks

SHIPPED = Path(__file__).parents[2] / "verbs" / "action" / "shipped"
"""The folder of the actions that every site has."""

_NAMELESS: Mapping[str, Any] = {"name": "x", "purpose": "x", "class": "look", "run": {"command": ["x"]}}
"""What stands for parts of an action with mistakes while the rest is validated."""


@dataclass(frozen=True, slots=True)
class Definition:
    """An action and where it stands; *is_shipped* says that it comes with clusterbus."""

    action: Action
    file: str
    line: int
    is_shipped: bool = False


@dataclass(frozen=True)
class Actions:
    """All actions that this site can use, by name, and what is wrong in their files."""

    definitions: Mapping[str, Definition]
    mistakes: Sequence[Mistake] = ()
    warnings: Sequence[Mistake] = ()


def read(settings: Settings) -> Actions:
    """Return the actions of this site and those that are shipped."""
    reading = _Reading()
    for path in files(settings.consumers):
        reading.document(yaml_documents.read(path))
    for path, reason in bounded_files.left_out(settings.consumers.actions):
        reading.warnings.append(Mistake(str(path), 0, "", "", reason))
    shipped = _Reading(is_shipped=True)
    for path in sorted(SHIPPED.glob("*.yaml")):
        shipped.document(yaml_documents.read(path))
    definitions = {**shipped.found, **reading.found}
    return Actions(dict(sorted(definitions.items())), (*reading.mistakes, *shipped.mistakes), tuple(reading.warnings))


def files(settings: ConsumersSettings) -> list[Path]:
    """Return the files of actions of this site; those in folders are YAML by their names."""
    found: list[Path] = []
    for each in settings.actions:
        if each.is_dir():
            with suppress(OSError):
                found += [file for file in bounded_files.in_folder(each) if bounded_files.is_read(file)]
        elif each not in ConsumersSettings().actions or each.exists():
            found.append(each)
    return list(dict.fromkeys(found))


@dataclass
class _Reading:
    is_shipped: bool = False
    found: dict[str, Definition] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)

    def document(self, document: Document) -> None:
        """Check one file, and add its actions and mistakes."""
        for flaw in document.flaws:
            self.mistakes.append(mistake_texts.placed(document, flaw.place, flaw.message, line=flaw.line))
        top = document.value
        if not document.lines and not document.flaws:
            # As a file is for a moment while an editor writes it: without its actions, shipped ones would take over.
            self._wrong(document, (), "is empty: it needs `version: 1` and `actions:`")
        if not document.lines or document.flaws:
            return
        if not isinstance(top, dict):
            self._wrong(document, (), "must be a mapping with `version: 1` and `actions:`")
            return
        entries = top.get("actions")
        try:
            frame = {**top, "actions": []} if isinstance(entries, list) else top
            ActionFile.model_validate(frame)
        except ValidationError as error:
            for each in error.errors(include_url=False):
                self._wrong(document, each["loc"], mistake_texts.message(ActionFile, each))
        for at, raw in enumerate(entries if isinstance(entries, list) else ()):
            self._entry(document, ("actions", at), raw)

    def _entry(self, document: Document, place: Place, raw: object) -> None:
        if not isinstance(raw, dict):
            self._wrong(document, place, "must be a mapping with name, purpose, class and run")
            return
        before = len(self.mistakes)
        action, wrong = model_parts.validated(Action, raw, _NAMELESS)
        for part, error in wrong.items():
            self._wrong(document, (*place, *part), mistake_texts.message(Action, error))
        if action is None or len(self.mistakes) > before:
            return
        remarks = [*definition_checks.check(action), *retry_checks.failures(raw, "run", action.run)]
        for remark in remarks:
            found = self.warnings if remark.warning else self.mistakes
            found.append(mistake_texts.placed(document, (*place, *remark.place), remark.message))
        line = document.line((*place, "name"))
        if other := self.found.get(action.name):
            message = f"the name {action.name} is already used at {other.file}:{other.line}"
            self._wrong(document, (*place, "name"), message)
        if len(self.mistakes) == before:
            self.found[action.name] = Definition(action, document.file, line, self.is_shipped)

    def _wrong(self, document: Document, place: Place, message: str) -> None:
        self.mistakes.append(mistake_texts.placed(document, place, message))
