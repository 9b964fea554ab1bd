"""Reads the files of services: all mistakes in one run, each with its file, line and place; and writes new ones."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import file_modes, redaction
from ..errors import SettingsError
from ..model.catalogue import Catalogues, is_shipped
from ..settings import bounded_files, model_parts, type_mistakes, yaml_documents
from ..settings.yaml_documents import Document, Place
from ..sources.event_selectors import select
from ..terminal_text import brief
from .definitions import Service

_NAMELESS: Mapping[str, Any] = {"name": "x", "on": "#"}
"""What stands for parts of a service with mistakes while the rest is validated."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A service with the bindings that it gets, and where it stands; *others* stand in the same file."""

    service: Service
    patterns: tuple[str, ...]
    file: Path
    line: int
    others: int = 0


@dataclass(frozen=True)
class Services:
    """The services in the files, by name, and what is wrong with the files, a line for each."""

    definitions: Mapping[str, Definition] = field(default_factory=dict)
    mistakes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def valid(self) -> Mapping[str, Definition]:
        """Return the definitions by name.  Raises SettingsError with all mistakes, if there are any."""
        if self.mistakes:
            raise SettingsError("\n".join(self.mistakes))
        return self.definitions


def read(folder: Path, catalogues: Catalogues) -> Services:
    """Return the services in the YAML files of *folder*, which may be absent."""
    reading = _Reading(catalogues)
    for path in _files(folder, reading):
        reading.document(path, yaml_documents.read(path))
    return Services(dict(sorted(reading.found.items())), tuple(reading.mistakes), tuple(reading.warnings))


def checked(raw: Mapping[str, Any], catalogues: Catalogues) -> Definition:
    """Return the service that *raw* describes, as in a file.  Raises SettingsError with all mistakes."""
    reading = _Reading(catalogues)
    reading.document(Path(), Document("", {"version": 1, "services": [raw]}))
    (found,) = Services(reading.found, tuple(reading.mistakes)).valid().values()
    return found


def write(folder: Path, service: Service) -> Path:
    """Write *service* to a file of its own in *folder*; return its path.  Raises SettingsError if it exists."""
    path = folder / f"{service.name}.yaml"
    told = service.model_dump(mode="json", exclude_defaults=True)
    # JSON is YAML, and quotes whatever needs quotes.
    lines = ["version: 1", "services:", *(f"    {name}: {json.dumps(each)}" for name, each in told.items())]
    lines[2] = lines[2].replace("    ", "  - ", 1)
    try:
        file_modes.write_shared_file(path, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _files(folder: Path, reading: _Reading) -> list[Path]:
    reading.warnings += [f"{path} {reason}" for path, reason in bounded_files.left_out(folder)]
    try:
        return [each for each in bounded_files.in_folder(folder) if bounded_files.is_read(each)]
    except OSError as error:
        reading.mistakes.append(f"services.folder {folder} cannot be read: {error.strerror}")
        return []


@dataclass
class _Reading:
    catalogues: Catalogues
    found: dict[str, Definition] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def document(self, path: Path, document: Document) -> None:
        """Check one file, and add its services and mistakes."""
        self.mistakes += document.flaw_lines("services")
        top = document.value
        if document.flaws:
            return
        if not isinstance(top, dict) or not isinstance(top.get("services"), list):
            self._wrong(document, (), "must be a mapping with `version: 1` and a list of `services:`")
            return
        if top.get("version") != 1 or isinstance(top.get("version"), bool):
            self._wrong(document, ("version",), "must be 1")
        for name in top.keys() - {"version", "services"}:
            self._wrong(document, (name,), "unknown key")
        for at, raw in enumerate(top["services"]):
            self._entry(path, document, ("services", at), raw, len(top["services"]) - 1)

    def _entry(self, path: Path, document: Document, place: Place, raw: object, others: int) -> None:
        if not isinstance(raw, dict):
            self._wrong(document, place, "must be a mapping with `name` and `on`")
            return
        before = len(self.mistakes)
        service, wrong = model_parts.validated(Service, raw, _NAMELESS)
        for part, error in wrong.items():
            unknown = error["type"] == "extra_forbidden"
            self._wrong(document, (*place, *part), "unknown key" if unknown else type_mistakes.text(error))
        if service is None:
            return
        for at, text in enumerate(service.on if not any(part[:1] == ("on",) for part in wrong) else ()):
            selection = select(text, self.catalogues)
            where: Place = (*place, "on", at) if isinstance(raw.get("on"), list) else (*place, "on")
            if selection.mistake:
                self._wrong(document, where, selection.mistake)
            elif selection.warning:
                self.warnings.append(self._line(document, where, selection.warning))
        if len(self.mistakes) > before:
            return
        line, patterns = document.line((*place, "name")), service.patterns(self.catalogues)
        if mistake := self._mistake(service, patterns):
            self._wrong(document, (*place, *mistake[0]), mistake[1])
            return
        if service.publishes and service.publishes not in self.catalogues:
            told = f"{service.publishes} is in no catalogue, so its events are of category `unknown`: describe them"
            self.warnings.append(self._line(document, (*place, "publishes"), f"{told} in `router.catalogue`"))
        self.found[service.name] = Definition(service, patterns, path, line, others)

    def _mistake(self, service: Service, patterns: Collection[str]) -> tuple[Place, str] | None:
        """Return what is wrong with *service*, whose parts are valid, and at which of them."""
        if not service.on and service.publishes is None:
            return ("on",), "is missing: write which events it gets, or what it `publishes`"
        if service.on and not patterns:
            return (), "selects no event: no event of `on` is of these clusters and this severity"
        if service.publishes and (wrong := self._source(service.publishes)):
            return ("publishes",), wrong
        if other := self.found.get(service.name):
            return ("name",), f"the name {service.name} is already used at {other.file}:{other.line}"
        return None

    def _source(self, source: str) -> str:
        """Return why a service may not publish *source*; an empty text if it may."""
        if is_shipped(source):
            return f"{source} is a source of clusterbus itself: choose another name"
        others = [each for each in self.found.values() if each.service.publishes == source]
        return f"{others[0].service.name} publishes {source} already: one service for each source" if others else ""

    def _wrong(self, document: Document, place: Place, message: str) -> None:
        self.mistakes.append(self._line(document, place, message))

    @staticmethod
    def _line(document: Document, place: Place, message: str) -> str:
        if not document.file:
            return ": ".join(filter(None, (yaml_documents.dotted(place[2:]), message)))
        said = ": ".join(filter(None, (yaml_documents.dotted(place), message)))
        return f"{document.file}:{document.line(place)}: {brief(redaction.redact(said))}"
