"""What a subscription becomes that names an action: the defaults of the action, and its verb with the action in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from router.errors import did_you_mean
from router.settings.models import Settings
from router.settings.yaml_documents import Place

from ...config.event_samples import Kinds, Remark
from ...errors import Mistake
from ...verbs.action import definition_checks
from ...verbs.action.definitions import Action
from ...verbs.action.parameter_values import implied
from ...verbs.action.verb import ActionVerb, BoundAction
from ...verbs.interface import TemplateText, Verb, texts_in
from ...verbs.scripts.verb import ScriptsVerb
from . import action_files

VERB = "action"

_MUST_HOLD = ("ask", "blast_radius", "first", "only_when", "only_if")
"""The guards without which an action must not run; others only limit how often it does."""


class ActionUse:
    """The actions of a site, read once an entry names one."""

    def __init__(self, settings: Settings) -> None:
        """Use the actions of *settings*, and those that are shipped."""
        self._settings = settings

    @cached_property
    def _actions(self) -> action_files.Actions:
        return action_files.read(self._settings)

    def mistakes(self, *, always: bool) -> Sequence[Mistake]:
        """Return the mistakes in files of actions, if an entry names an action, or *always*."""
        return self._actions.mistakes if self._is_read(always=always) else ()

    def warnings(self, *, always: bool) -> Sequence[Mistake]:
        """Return the warnings about files of actions, as `mistakes`."""
        return self._actions.warnings if self._is_read(always=always) else ()

    def _is_read(self, *, always: bool) -> bool:
        # Shipped actions have no mistakes, and reading them takes time.
        return "_actions" in vars(self) or (always and bool(action_files.files(self._settings.consumers)))

    def with_defaults(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entry *raw* with the keys that its action sets and it does not.

        What it sets itself replaces the same key of the action, also inside `guard` and `retry`; null removes it.
        """
        completed = dict(raw)
        action = self._named_by(raw)
        for name, usual in action.defaults.items() if action else ():
            own = raw.get(name)
            if name not in raw:
                completed[name] = usual
            elif isinstance(own, dict) and name in ("guard", "retry"):
                completed[name] = {**usual, **own}
        return completed

    def with_implied(self, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the entry *raw* with templates for what the event gives: they are checked like those of the entry."""
        action = self._named_by(raw)
        if action is None:
            return raw
        below = raw[VERB]
        options = below if isinstance(below, dict) else {"name": below}
        given = options.get("with")
        given = given if isinstance(given, dict) else {}
        return {**raw, VERB: {**options, "with": {**given, **dict(implied(action, given))}}}

    def bound(self, verb: Verb | None) -> Verb | None:
        """Return *verb*, with its action if it has one that is known."""
        if not isinstance(verb, ActionVerb):
            return verb
        found = self._actions.definitions.get(verb.name)
        return BoundAction(name=verb.name, definition=found.action, **{"with": verb.with_}) if found else verb

    def remarks(self, raw: Mapping[str, Any], verb: Verb) -> Iterator[Remark]:
        """Yield what is wrong with what the entry *raw* gives to its action; places are relative to the entry."""
        if not isinstance(verb, ActionVerb):
            return
        known = self._actions.definitions
        if verb.name not in known:
            near = did_you_mean(verb.name, known) or "; `clusterbus actions list` shows all"
            yield Remark((VERB, "name"), f"there is no action {verb.name}{near}")
            return
        action = known[verb.name].action
        for name in verb.with_:
            if name not in action.parameters:
                near = did_you_mean(name, action.parameters) or f"; it has {', '.join(action.parameters) or 'none'}"
                yield Remark((VERB, "with", name), f"the action {action.name} has no parameter {name}{near}")
        for name, parameter in action.parameters.items():
            if parameter.is_required and name not in verb.with_:
                what = f": {parameter.purpose}" if parameter.purpose else ""
                yield Remark((VERB, "with"), f"the action {action.name} needs the parameter {name}{what}")
        yield from _loosened(raw, action)
        guard = raw.get("guard")
        for name, field in (("only_if", ""), ("acts_on", "nodes")):
            for place, text in texts_in(guard.get(name) if isinstance(guard, dict) else None, ("guard", name)):
                if "parameters" in text:
                    yield from definition_checks.about_template(action, TemplateText(place, text, field))

    def remarks_here(self, verb: Verb, kinds: Kinds) -> Iterator[Remark]:
        """Yield what is wrong with the actions that `.qcb` files on this machine name; places are as above."""
        for place, program, call in verb.listed(kinds.catalogues) if isinstance(verb, ScriptsVerb) else ():
            if isinstance(found := unguarded(self._settings, call.name, call.given), str):
                yield Remark(("scripts", *place), f"{program.place}: {program.path}: {found}", fault=True)

    def _named_by(self, raw: Mapping[str, Any]) -> Action | None:
        """Return the action that the entry *raw* names; None if it names none that is known."""
        below = raw.get(VERB)
        name = below.get("name") if isinstance(below, dict) else below
        found = self._actions.definitions.get(name) if isinstance(name, str) else None
        return found.action if found else None


def unguarded(settings: Settings, name: str, given: Mapping[str, object]) -> Verb | str:
    """Return the verb that runs the action *name* of *settings* with the values *given*, without its guards.

    A text says why it cannot be run so: the values do not fit, or its guards must hold.
    """
    found = action_files.read(settings).definitions.get(name)
    if found is None:
        return f"there is no action {name}: clusterbus actions list shows all"
    action = found.action
    if strange := [each for each in given if each not in action.parameters]:
        near = did_you_mean(strange[0], action.parameters)
        return f"the action {name} has no parameter {strange[0]}{near}"
    if action.class_ == "destroy" or (action.guard and action.guard.ask):
        return f"the action {name} destroys or asks people: write a subscription with `action: {name}`"
    if guards := [each for each in _MUST_HOLD if action.guard and getattr(action.guard, each) is not None]:
        return f"the action {name} has the guard {guards[0]}: write a subscription with `action: {name}`"
    if action.run.detach or action.run.steps:
        return f"the action {name} runs as a job: write a subscription with `action: {name}`"
    return BoundAction.model_validate({"name": name, "definition": action, "fixed": dict(given)})


def _loosened(raw: Mapping[str, Any], action: Action) -> Iterator[Remark]:
    """Yield a warning for each default of *action* that the entry *raw* removes."""
    usual, own = action.defaults, raw.get("guard")
    removed: list[Place] = [(name,) for name in usual if name in raw and raw[name] is None]
    if isinstance(own, dict):
        removed += [("guard", name) for name in usual.get("guard", {}) if name in own and own[name] is None]
    for place in removed:
        yield Remark(place, f"removes what the action {action.name} sets", warning=True)
