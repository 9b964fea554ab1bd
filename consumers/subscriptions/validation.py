"""Validation of subscription files: all mistakes in one run, each with its file, line, entry and field.

Filters and templates are evaluated for a sample of each selected event type: one that fails for all fails here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from router import trust
from router.model.catalogue import Catalogues
from router.settings import bounded_files, model_parts
from router.settings.models import Settings
from router.settings.yaml_documents import Document, Place
from router.sources.event_selectors import Selection

from ..config import local_folders, program_logins, python_files, subscription_files
from ..config.event_samples import Kinds, Remark, Samples
from ..config.field_types import ON_THIS_MACHINE
from ..config.registrations import Registrations
from ..errors import Mistake, SubscriptionsError
from ..policies.schedules import timed_events
from ..processes import executables, shell_words
from ..processes.service_unit import runs_as
from ..verbs.interface import Verb, installed
from . import expression_checks, handed_over, retry_checks, semantic_checks
from .actions.action_use import ActionUse
from .alerts import owner_checks, rule_names
from .alerts.rule_checks import RuleChecks, TryRuleTests
from .mistake_texts import meant_as_verb, message, placed
from .models import Defaults, Entry, EntryWithVerb, Frame, Subscription, Subscriptions
from .test_cases import Expectation

TryTests = Callable[[Sequence[Expectation], Subscription, Registrations, Settings], Iterator[Remark]]
"""Runs the `tests:` of a subscription and yields the failures: `inspection.test_runner.try_all`."""

_NAMELESS: Mapping[str, Any] = {"name": "x", "on": "#"}
"""What stands for an invalid name and invalid events while the rest of an entry is validated."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check; `subscriptions` is None if there is any mistake in the files.

    `faults` are about this machine or site, such as a script that cannot start, or a variable that no registration
    passes: what depends on them fails, and the rest works.
    """

    subscriptions: Subscriptions | None
    mistakes: Sequence[Mistake]
    faults: Sequence[Mistake]
    warnings: Sequence[Mistake]

    def valid(self) -> Subscriptions:
        """Return the subscriptions.  Raises SubscriptionsError with all mistakes if there are any."""
        if self.subscriptions is None:
            raise SubscriptionsError(self.mistakes)
        return self.subscriptions


def load(paths: Sequence[Path] | Path, catalogues: Catalogues, settings: Settings | None = None) -> Subscriptions:
    """Return the subscriptions in the files and folders *paths*, whatever of this machine they need.

    Raises SubscriptionsError with all mistakes in the files.
    """
    return check(paths, catalogues, settings, here=False).valid()


def check(
    paths: Sequence[Path] | Path,
    catalogues: Catalogues,
    settings: Settings | None = None,
    *,
    try_tests: TryTests | None = None,
    try_rule_tests: TryRuleTests | None = None,
    here: bool = True,
) -> Report:
    """Check the files and folders *paths* under *settings*; return their subscriptions, mistakes and warnings.

    With *settings*, this includes the subscriptions of Python callbacks in the folder `consumers.callbacks`.
    With *try_tests* and *try_rule_tests*, it also runs the `tests:`; a failed test is a mistake.  Unless it is for
    *here*, nothing of this machine is looked at, such as programs, users, secrets and modules: only the files.
    """
    registrations = Registrations.of_site(catalogues, settings) if settings else Registrations(catalogues)
    wanted = settings or Settings()
    samples = Samples(registrations)
    rules = RuleChecks(samples, wanted, try_rule_tests)
    checking = _Checking(catalogues, wanted, samples, ActionUse(wanted), rules, try_tests, here)
    python = partial(python_files.parse, folders=checking.settings.consumers.handlers)
    callbacks = subscription_files.of_callbacks(settings.consumers.callbacks) if settings else ()
    everywhere = [*([paths] if isinstance(paths, Path) else paths), *callbacks]
    documents = [*subscription_files.read_all(everywhere, {python_files.SUFFIX: python})]
    checking.receivers = frozenset(name for each in documents for name in handed_over.receivers(each.value))
    for document in documents:
        checking.document(document)
    if here and settings:
        checking.warnings += (Mistake("settings", 0, "", *each) for each in local_folders.warnings(settings))
        closed = (each for section in ("router", "consumers") for each in program_logins.unreadable(settings, section))
        checking.faults += (Mistake("settings", 0, "", *each) for each in (*local_folders.mistakes(settings), *closed))
    for each, reason in bounded_files.left_out(paths, (python_files.SUFFIX,)):
        checking.warnings.append(Mistake(str(each), 0, "", "", reason))
    if settings and (problem := trust.problem(folder := settings.consumers.callbacks)):
        checking.mistakes.append(Mistake(str(folder), 0, "", "", f"is not read: {problem}"))
    checking.hand_over()
    checking.mistakes += checking.actions.mistakes(always=here)
    checking.warnings += checking.actions.warnings(always=here)
    for section, text in registrations.mistakes.items():
        for line in text.splitlines():
            problem = f"what is registered is not known, because `{section}` is invalid: {line}"
            checking.faults.append(Mistake("settings", 0, "", section, problem))
    every = (checking.mistakes, checking.faults, checking.warnings)
    mistakes, faults, warnings = (tuple(dict.fromkeys(each)) for each in every)
    found = Subscriptions(subscriptions=tuple(checking.subscriptions), rules=rules.rules) if not mistakes else None
    return Report(found, mistakes, faults, warnings)


@dataclass
class _Checking:
    catalogues: Catalogues
    settings: Settings
    samples: Samples
    actions: ActionUse
    rules: RuleChecks
    try_tests: TryTests | None = None
    here: bool = True
    mistakes: list[Mistake] = field(default_factory=list)
    faults: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)
    follows: list[retry_checks.Follow] = field(default_factory=list)
    receivers: frozenset[str] = frozenset()
    entries: dict[str, handed_over.Entry] = field(default_factory=dict)
    subscriptions: list[Subscription] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def document(self, document: Document) -> None:
        """Check one file, and add its subscriptions and mistakes."""
        first = len(self.mistakes)
        for flaw in document.flaws:
            self.mistakes.append(placed(document, flaw.place, flaw.message, line=flaw.line))
        if document.lines:
            self._content(document)
        # Sort by line: the checks find mistakes kind by kind.
        self.mistakes[first:] = sorted(self.mistakes[first:], key=lambda each: each.line)

    def hand_over(self) -> None:
        """Check what subscriptions hand over to each other, rules suppress, and owners share; all files are known."""
        off = {name for name, each in self.entries.items() if each.raw.get("mode") == "off"}
        self.mistakes += retry_checks.check(self.follows, self.places, off)
        for entry, remark in handed_over.check(self.entries, self.settings):
            self._add(entry.document, entry.place, [remark])
        for each in self.entries.values():
            self._add(each.document, each.place, rule_names.remarks(each.raw, each.categories, self.rules.places))
        for document, place, remark in self.rules.together():
            self._add(document, place, [remark])
        self.mistakes += owner_checks.mistakes(self.settings, self.catalogues, here=self.here)

    def _content(self, document: Document) -> None:
        top = document.value
        if not isinstance(top, dict):
            self._wrong(document, (), "must be a mapping with `version: 1`, and `subscriptions:` or `alerts:`")
            return
        # This validates everything around the entries; the entries are validated one by one below.
        entries = top.get("subscriptions", [] if "alerts" in top else None)
        lists = {"subscriptions": entries, "alerts": top.get("alerts", [])}
        try:
            Frame.model_validate({**top, **{name: [] for name, each in lists.items() if isinstance(each, list)}})
        except ValidationError as error:
            for wrong in error.errors(include_url=False):
                self._wrong(document, wrong["loc"], message(Frame, wrong))
        base = self._defaults(top.get("defaults"))
        verbs: list[tuple[Mapping[str, object], Verb | None]] = []
        for at, entry in enumerate(entries if isinstance(entries, list) else ()):
            place: Place = ("subscriptions", at)
            if isinstance(entry, dict):
                verbs.append((entry, self._entry(document, place, entry, base)))
            else:
                self._wrong(document, place, f"must be a mapping with name, on and one of {', '.join(installed())}")
        self._alerts(document, top.get("alerts"))
        self._add(document, ("defaults",), retry_checks.default_failures(top.get("defaults"), verbs))

    def _alerts(self, document: Document, entries: object) -> None:
        for at, entry in enumerate(entries if isinstance(entries, list) else ()):
            place: Place = ("alerts", at)
            if isinstance(entry, dict):
                self._add(document, place, self.rules.entry(document, place, entry))
                self._unique(document, place, entry.get("name"), self.rules.places)
            else:
                self._wrong(document, place, "must be a mapping with name, opens, and closes or closes_after")

    def _defaults(self, raw: object) -> Mapping[str, Any]:
        """Return the default retry fields of the entries; an empty mapping if the section has mistakes."""
        try:
            return Defaults.model_validate(raw or {}).retry.model_dump(exclude_unset=True)
        except ValidationError:
            return {}

    def _entry(self, document: Document, place: Place, raw: Mapping[str, Any], base: Mapping[str, Any]) -> Verb | None:
        """Check one entry, and add its subscription if it has no mistakes; return its verb if that has none."""
        before, raw = len(self.mistakes), timed_events.with_events(raw)
        kind = self._verb(document, place, raw)
        # `log:` without a value means `log: {}`.
        completed = {name: {} if name in installed() and value is None else value for name, value in raw.items()}
        completed = self.actions.with_defaults(completed)
        if isinstance(completed.get("retry", {}), dict):
            completed["retry"] = {**base, **completed.get("retry", {})}
        context = ON_THIS_MACHINE if self.here else None
        entry, wrong = model_parts.validated(EntryWithVerb, completed, _NAMELESS, context)
        for part, error in wrong.items():
            self._wrong(document, (*place, *part), message(EntryWithVerb, error))
        self._unique(document, place, raw.get("name"), self.places)
        self._follow(document, place, completed)
        selected = self._on(document, place, raw.get("on"))
        events, told = self._stages(completed, selected), self.actions.with_implied(completed)
        self._add(document, place, semantic_checks.check(told, kind, events))
        verb = self.actions.bound(getattr(entry, kind, None) if kind else None)
        if verb is not None:
            self._about_verb(handed_over.Entry(document, place, told, str(kind), verb, events), raw)
        if entry and entry.guard:
            self._guard(document, (*place, "guard", "only_if"), entry.guard.only_if or ())
        if entry is None or verb is None or len(self.mistakes) > before:
            return verb
        # Tests matter for checks only: they do not change the meaning of a subscription.
        fields: dict[str, Any] = {name: getattr(entry, name) for name in Entry.model_fields if name != "tests"}
        where: dict[str, Any] = {"line": document.line(place), "file": document.file}
        found = Subscription(**fields, kind=str(kind), verb=verb, patterns=selected.patterns, **where)
        self.subscriptions.append(found)
        if self.try_tests:
            self._add(
                document,
                (*place, "tests"),
                self.try_tests(entry.tests, found, self.samples.registrations, self.settings),
            )
        return verb

    def _stages(self, raw: Mapping[str, Any], selected: Selection) -> expression_checks.Stages:
        kinds = Kinds.of(selected.types, self.samples)
        return expression_checks.Stages.of(raw, kinds, receives=str(raw.get("name")) in self.receivers)

    def _about_verb(self, entry: handed_over.Entry, raw: Mapping[str, Any]) -> None:
        document, place, verb, reached = entry.document, entry.place, entry.verb, entry.events.handled.reached
        self._add(document, place, self.actions.remarks(raw, verb))
        self._add(document, (*place, entry.kind), verb.remarks(reached, self.settings))
        if self.here:
            self._add(document, (*place, entry.kind), verb.remarks_here(reached, self.settings))
            self._add(document, place, self.actions.remarks_here(verb, reached))
        self._add(document, place, retry_checks.failures(raw, entry.kind, verb))
        self.entries.setdefault(str(entry.raw.get("name")), entry)

    def _guard(self, document: Document, place: Place, command: Sequence[str]) -> None:
        if self.here and command and (lack := executables.problem(command[0], runs_as())):
            self._remark(document, place, lack)
        for at, text in shell_words.problems(command):
            self._remark(document, (*place, at), text)

    def _follow(self, document: Document, place: Place, raw: Mapping[str, Any]) -> None:
        retry = raw.get("retry")
        if isinstance(retry, dict) and isinstance(then := retry.get("then"), str) and isinstance(raw.get("name"), str):
            self.follows.append(
                retry_checks.Follow(raw["name"], then, document.file, document.line((*place, "retry", "then")))
            )

    def _verb(self, document: Document, place: Place, raw: Mapping[str, Any]) -> str | None:
        """Return the verb of an entry; add a mistake and return None unless there is exactly one."""
        verbs = [name for name in raw if name in installed()]
        if len(verbs) > 1:
            problem = f"has the verbs {' and '.join(verbs)}: write a subscription for each"
            self._wrong(document, (*place, verbs[1]), problem)
        # An unknown key that resembles no other key is probably a verb; it is reported as an unknown key.
        meant = [name for name in raw if name not in Entry.model_fields and meant_as_verb(name)]
        if not verbs and not meant:
            self._wrong(document, place, f"has no verb: add one of {', '.join(installed())}")
        return verbs[0] if len(verbs) == 1 else None

    def _unique(self, document: Document, place: Place, name: object, places: dict[str, str]) -> None:
        here = f"{document.file}:{document.line((*place, 'name'))}"
        if isinstance(name, str) and (first := places.setdefault(name, here)) != here:
            self._wrong(document, (*place, "name"), f"the name {name} is already used at {first}")

    def _on(self, document: Document, place: Place, raw: object) -> Selection:
        found, remarks = expression_checks.selection(raw, self.samples)
        self._add(document, (*place, "on"), remarks)
        return found

    def _add(self, document: Document, place: Place, remarks: Iterable[Remark]) -> None:
        for remark in remarks:
            found = self.faults if remark.fault else self.warnings if remark.warning else self.mistakes
            found.append(placed(document, (*place, *remark.place), remark.message))

    def _wrong(self, document: Document, place: Place, message: str) -> None:
        self.mistakes.append(placed(document, place, message))

    def _remark(self, document: Document, place: Place, message: str) -> None:
        self.warnings.append(placed(document, place, message))
