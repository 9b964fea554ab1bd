"""Subscription files, checked as a whole: every mistake in one run, each with its file, line, entry and field.

A mistake is what cannot work, a warning what may not have been meant.  Filters are evaluated and templates filled in
for a sample of each event type that a subscription selects, so that what fails for all events fails here.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from router.catalogue import Catalogues
from router.sections import Settings

from . import files, handlers, meanings, successions, trials
from .errors import Mistake, SubscriptionsError, did_you_mean
from .expectations import Expectation, Expected, Given
from .fields import ON_THIS_MACHINE
from .files import Document, Place
from .kinds import Kinds, Remark
from .patterns import Selection, narrow, select
from .retries import RetryPolicy
from .subscriptions import Defaults, Entry, EntryWithVerb, File, Subscription, Subscriptions
from .verbs import installed
from .verbs.log.syslog import SyslogTarget


@dataclass(frozen=True, slots=True)
class Report:
    """What came of reading files; `subscriptions` is None where there is any mistake."""

    subscriptions: Subscriptions | None
    mistakes: Sequence[Mistake]
    warnings: Sequence[Mistake]


def load(paths: Sequence[Path] | Path, catalogues: Catalogues, settings: Settings | None = None) -> Subscriptions:
    """Return the subscriptions in the files and folders *paths*; raises SubscriptionsError with every mistake."""
    report = check(paths, catalogues, settings)
    if report.subscriptions is None:
        raise SubscriptionsError(report.mistakes)
    return report.subscriptions


def check(
    paths: Sequence[Path] | Path, catalogues: Catalogues, settings: Settings | None = None, *, tries: bool = False
) -> Report:
    """Return the subscriptions in the files and folders *paths*, or all that is wrong with them under *settings*.

    Those of Python callbacks, in the folder `consumers.callbacks`, are among them where *settings* are given.
    Where it *tries*, their `tests:` are run as well; one that fails is a mistake.
    """
    checking = _Checking(catalogues, settings or Settings(), tries)
    python = partial(handlers.parse, folders=checking.settings.consumers.handlers)
    everywhere = [*([paths] if isinstance(paths, Path) else paths), *(of_callbacks(settings) if settings else ())]
    for document in files.read_all(everywhere, {handlers.SUFFIX: python}):
        checking.document(document)
    if settings and _open_to_all(folder := settings.consumers.callbacks):
        told = "anybody may write to it, and what is in it is called: chmod o-w"
        checking.mistakes.append(Mistake(str(folder), 0, "", "", told))
    checking.mistakes += successions.check(checking.subscriptions)
    mistakes, warnings = (tuple(dict.fromkeys(each)) for each in (checking.mistakes, checking.warnings))
    found = None if mistakes else Subscriptions(subscriptions=tuple(checking.subscriptions))
    return Report(found, mistakes, warnings)


def of_callbacks(settings: Settings) -> list[Path]:
    """Return the subscription files of Python callbacks: the modules beside them are what they call, not handlers."""
    return sorted(each for each in settings.consumers.callbacks.glob("*.yaml") if not each.name.startswith("."))


@dataclass
class _Checking:
    catalogues: Catalogues
    settings: Settings
    tries: bool = False
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def document(self, document: Document) -> None:
        """Check one file, and add what it holds."""
        first = len(self.mistakes)
        for flaw in document.flaws:
            self.mistakes.append(_mistake(document, flaw.place, flaw.message, line=flaw.line))
        if document.lines:
            self._content(document)
        # By line, as one reads; what is found first is by kind.
        self.mistakes[first:] = sorted(self.mistakes[first:], key=lambda each: each.line)
        if _open_to_all(Path(document.file)):
            self.warnings.append(Mistake(document.file, 0, "", "", "anybody may write to it, and so have commands run"))

    def _content(self, document: Document) -> None:
        top = document.value
        if not isinstance(top, dict):
            self._wrong(document, (), "has to be a mapping with `version: 1` and `subscriptions:`")
            return
        # Entries are validated one by one below; here only what is around them.
        entries = top.get("subscriptions")
        self._validate(document, (), File, {**top, "subscriptions": []} if isinstance(entries, list) else top)
        base = self._defaults(top.get("defaults"))
        for at, entry in enumerate(entries if isinstance(entries, list) else ()):
            place: Place = ("subscriptions", at)
            if isinstance(entry, dict):
                self._entry(document, place, entry, base)
            else:
                self._wrong(document, place, f"has to be a mapping with name, on and one of {', '.join(installed())}")

    def _defaults(self, raw: object) -> Mapping[str, Any]:
        """Return the retry fields that entries start from; none of a section that has mistakes."""
        try:
            return Defaults.model_validate(raw or {}).retry.model_dump(exclude_unset=True)
        except ValidationError:
            return {}

    def _entry(self, document: Document, place: Place, raw: Mapping[str, Any], base: Mapping[str, Any]) -> None:
        before = len(self.mistakes)
        kind = self._verb(document, place, raw)
        # `log:` with nothing below is `log: {}`.
        completed = {name: {} if name in installed() and value is None else value for name, value in raw.items()}
        if isinstance(raw.get("retry", {}), dict):
            completed["retry"] = {**base, **raw.get("retry", {})}
        entry = self._validate(document, place, EntryWithVerb, completed)
        self._unique(document, place, raw.get("name"))
        selected = self._on(document, place, raw.get("on"))
        kinds = Kinds.of(selected.types, self.catalogues)
        self._tell(document, place, meanings.check(completed, kind, kinds))
        if not isinstance(entry, Entry) or kind is None or len(self.mistakes) > before:
            return
        verb = getattr(entry, kind)
        self._tell(document, (*place, kind), verb.remarks(kinds, self.settings))
        if len(self.mistakes) > before:
            return
        # Tests are for checking only: a subscription means the same without them.
        fields: dict[str, Any] = {name: getattr(entry, name) for name in Entry.model_fields if name != "tests"}
        where: dict[str, Any] = {"line": document.line(place), "file": document.file}
        found = Subscription(**fields, kind=kind, verb=verb, patterns=selected.patterns, **where)
        self.subscriptions.append(found)
        if self.tries:
            self._tell(document, (*place, "tests"), trials.try_all(entry.tests, found, self.catalogues, self.settings))

    def _verb(self, document: Document, place: Place, raw: Mapping[str, Any]) -> str | None:
        """Return the one verb of an entry; None, and a mistake, where it is none or not one."""
        verbs = [name for name in raw if name in installed()]
        if len(verbs) > 1:
            self._wrong(document, (*place, verbs[1]), f"has the verbs {' and '.join(verbs)}: one each")
        # An unknown key with no near one was meant as a verb, and is told as an unknown key.
        meant = [name for name in raw if name not in Entry.model_fields and _meant_as_verb(name)]
        if not verbs and not meant:
            self._wrong(document, place, f"has no verb: one of {', '.join(installed())}")
        return verbs[0] if len(verbs) == 1 else None

    def _unique(self, document: Document, place: Place, name: object) -> None:
        if not isinstance(name, str):
            return
        here = f"{document.file}:{document.line((*place, 'name'))}"
        if (first := self.places.setdefault(name, here)) != here:
            self._wrong(document, (*place, "name"), f"the name {name} is taken by {first}")

    def _on(self, document: Document, place: Place, raw: object) -> Selection:
        """Return what all of `on` selects together."""
        found = []
        for at, text in enumerate(raw if isinstance(raw, list) else [raw]):
            if isinstance(text, str):
                spot = (*place, "on", at) if isinstance(raw, list) else (*place, "on")
                selected = select(text, self.catalogues)
                found.append(selected)
                if selected.mistake:
                    self._wrong(document, spot, selected.mistake)
                if selected.warning:
                    self._remark(document, spot, selected.warning)
        by_type = {each.type: each for selected in found for each in selected.types}
        patterns = narrow(pattern for selected in found for pattern in selected.patterns)
        return Selection(patterns, tuple(by_type.values()))

    def _validate(
        self, document: Document, place: Place, model: type[BaseModel], raw: Mapping[str, Any]
    ) -> BaseModel | None:
        try:
            return model.model_validate(raw, context=ON_THIS_MACHINE)
        except ValidationError as error:
            for each in error.errors(include_url=False):
                self._wrong(document, (*place, *each["loc"]), _message(model, each))
            return None

    def _tell(self, document: Document, place: Place, remarks: Iterable[Remark]) -> None:
        for remark in remarks:
            tell = self._remark if remark.warning else self._wrong
            tell(document, (*place, *remark.place), remark.message)

    def _wrong(self, document: Document, place: Place, message: str) -> None:
        self.mistakes.append(_mistake(document, place, message))

    def _remark(self, document: Document, place: Place, message: str) -> None:
        self.warnings.append(_mistake(document, place, message))


def _mistake(document: Document, place: Place, message: str, *, line: int | None = None) -> Mistake:
    """Return the mistake at *place*, told with the name of the entry that it is in."""
    line = document.line(place) if line is None else line
    match place:
        case ("subscriptions", int(at), *rest):
            return Mistake(document.file, line, _entry_name(document, at), _dotted(rest), message)
        case _:
            return Mistake(document.file, line, "", _dotted(place), message)


def _entry_name(document: Document, at: int) -> str:
    value = document.value
    entries = value.get("subscriptions") if isinstance(value, dict) else None
    entry = entries[at] if isinstance(entries, list) and at < len(entries) else None
    name = entry.get("name") if isinstance(entry, dict) else None
    return name[:63] if isinstance(name, str) and name else f"entry {at + 1}"


def _dotted(place: Sequence[str | int]) -> str:
    # People count from 1.
    return ".".join(str(each + 1) if isinstance(each, int) else each for each in place)


def _message(model: type[BaseModel], error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    value = error["input"]
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(model, error["loc"])
        case "missing":
            return "is missing"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
        case "too_short":
            return "is empty"
        case "string_type" if value is not None and not isinstance(value, (list, dict)):
            return f'has to be a text: write it in quotes, "{_plain(value)}"'
        case _:
            text = str(error["msg"]).removeprefix("Input ").replace("should", "has to", 1)
            return f"{text[:1].lower()}{text[1:]}, not {_plain(value)}"


def _plain(value: object) -> str:
    """Return *value* nearly as it would be written in the file, a text in quotes."""
    return (repr(value) if isinstance(value, str) else json.dumps(value, default=str))[:60]


def _unknown_key(model: type[BaseModel], place: Sequence[str | int]) -> str:
    *inside, name = place
    parts: Mapping[str, type[BaseModel]] = {**_OF_ENTRIES, **_OF_TESTS, **_OF_VERBS, **installed()}
    names = [each for each in inside if isinstance(each, str)]
    within = parts.get(names[-1], model) if names else model
    known = [field.alias or name for name, field in within.model_fields.items()]
    listed = f"; there are {', '.join(known)}"
    if within is EntryWithVerb and _meant_as_verb(str(name)):
        listed = f"; the verbs are {', '.join(installed())}, the other keys {', '.join(Entry.model_fields)}"
    return f"unknown key{did_you_mean(str(name), known) or listed}"


_OF_TESTS: Mapping[str, type[BaseModel]] = {"tests": Expectation, "given": Given, "expect": Expected}
_OF_ENTRIES: Mapping[str, type[BaseModel]] = {"retry": RetryPolicy, "defaults": Defaults}
_OF_VERBS: Mapping[str, type[BaseModel]] = {"syslog": SyslogTarget}


def _meant_as_verb(name: str) -> bool:
    return bool(did_you_mean(name, installed())) or not did_you_mean(name, Entry.model_fields)


def _open_to_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False
