"""Trying filters and templates on samples: for which events they fail, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from router.cluster.facts.views import Known
from router.model.events import Event

from ..config.event_samples import Kind, Kinds
from ..deliveries import Delivery
from ..errors import TemplateError
from ..expressions.filters import Filter
from ..expressions.templates import Template
from ..expressions.values.alert_values import with_about, without_about
from ..verbs.interface import OF_A_STEP
from .expression_checks import Passing, known, seen, varying


class Filling:
    """Fills in *template*; *misread* returns what is wrong with the text that this gives.

    *wrong* has the reasons of *misread* for texts, *empty* those for an empty text: other values may fill it.
    """

    def __init__(self, template: Template, misread: Callable[[str], str], meta: object = None) -> None:
        """Fill in *template*, with the words *meta* of its subscription, and ask *misread* about the result."""
        self.template, self._misread = template, misread
        self._meta = meta if isinstance(meta, dict) else {}
        self.wrong: set[str] = set()
        self.empty: set[str] = set()

    def trials(self, passes: Passing) -> dict[str, Trial]:
        """Return how the template does for each type of event that passes."""

        def fails(event: Event) -> str:
            return self.failure(with_about(event, self.template.about), known(event, self.template.facts))

        return tried(self.template, fails, passes)

    def failures_without_about(self, kinds: Kinds) -> Iterator[tuple[str, str]]:
        """Yield each name without which in `alert.about` the template cannot be filled in, and the reason."""
        for name in self.template.about:
            for kind in kinds.kinds.values():
                sample = without_about(with_about(kind.sample, self.template.about), name)
                if reason := self.failure(sample, known(sample, self.template.facts)):
                    yield name, reason
                    break

    def failure(self, event: Event, facts: Known | None) -> str:
        """Return why the template cannot be filled in for *event*, or the text not be used; empty if they can."""
        try:
            steps = {name: OF_A_STEP for name, _ in self.template.steps}
            sample = Delivery(event, "sample", event.topic, b"", known=facts, steps=steps, meta=self._meta)
            text = self.template.render_text(sample)
        except TemplateError as error:
            return str(error)
        if reason := self._misread(text):
            (self.wrong if text.strip(" ,") else self.empty).add(reason)
        return reason


@dataclass(frozen=True, slots=True)
class Trial:
    """Why an expression fails for the sample of an event type, or empty; and for which variants it fails, and why.

    A variant is given by the variables that are absent from it.
    """

    reason: str
    variants: Sequence[tuple[Sequence[str], str]] = ()


def trials_of(asked: Filter, passes: Passing) -> dict[str, Trial]:
    """Return how the filter *asked* does for each type of event that passes."""

    def fails(event: Event) -> str:
        return asked.matches(with_about(event, asked.about), known(event, asked.facts)).reason

    return tried(asked, fails, passes)


def failing_as_null(asked: Filter, kind: Kind) -> list[str]:
    """Return the variables that events of *kind* cannot have, but that are there as null, so that *asked* fails.

    GPFS passes the variables of a whole family, and `has` is true for them.
    """
    null = [each for each in asked.guarded if each in kind.given - kind.possible]

    def fails(without: Collection[str]) -> bool:
        data = {name: value for name, value in kind.sample.data.items() if name not in without}
        event = with_about(kind.sample.model_copy(update={"data": data}), asked.about)
        return bool(asked.matches(event, known(event, asked.facts)).reason)

    return [] if fails(null) else [each for each in null if fails({*null} - {each})]


def tried(expression: Filter | Template, fails: Callable[[Event], str], passes: Passing) -> dict[str, Trial]:
    """Return how *expression* does for each type that passes; *fails* returns why it fails for an event.

    Samples that do not pass are left out.
    """
    trials = {}
    for name, kind in passes.reached.kinds.items():
        full, variants = kind.sample, kind.variants[1:] if varying(expression) else ()
        reason, usual = fails(full) if passes.may_pass(full, full) else "", seen(full, expression)
        different: dict[tuple[object, ...], Event] = {}
        # The items that the sample lacks may be in longer lists.
        is_short = bool(reason) and any(
            seen(each, expression) != usual
            and not _absent(each, full, expression.variables)
            and passes.may_pass(each, full)
            and not fails(each)
            for each in variants
        )
        for each in () if reason and not is_short else variants:
            # Most variants differ in what is not read.
            if (read := seen(each, expression)) != usual and read not in different and passes.may_pass(each, full):
                different[read] = each
        found = ((_absent(each, full, expression.variables), fails(each)) for each in different.values())
        fewer: list[tuple[Sequence[str], str]] = [((), reason)] if is_short else []
        trials[name] = Trial("" if is_short else reason, [*fewer, *(each for each in found if each[1])])
    return trials


def _absent(event: Event, full: Event, read: Sequence[str]) -> Sequence[str]:
    return [name for name in read if event.data.get(name) is None and full.data.get(name) is not None]


def partly(trials: Mapping[str, Trial]) -> Iterator[tuple[Sequence[str], str, str]]:
    """Yield the types for which an expression fails at times: if this variable is absent, if any, and the reason."""
    found: dict[str, dict[str, str]] = {}
    for name, trial in trials.items():
        alone = [each for each in trial.variants if len(each[0]) < 2]  # noqa: PLR2004 - one at most
        for absent, reason in alone or trial.variants:
            found.setdefault(absent[0] if absent else "", {}).setdefault(name, reason)
    for variable, reasons in found.items():
        yield [*reasons], variable, next(iter(reasons.values()))
