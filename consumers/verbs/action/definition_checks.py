"""What is wrong with an action that its model cannot say: templates, words for a shell, parameters that nobody uses.

Each template is tried with sample values of the parameters, also without the optional ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import PurePath
from typing import Any

from router.errors import did_you_mean
from router.settings.yaml_documents import Place

from ...config.event_samples import Remark
from ...errors import TemplateError
from ...expressions.templates import Template
from ...processes import shell_words
from ..interface import OF_A_STEP, TemplateText, texts_in
from .definitions import Action
from .parameters import NODES, Value

_INTERPRETER = re.compile(r"(ba|da|[ackz]|fi|tc|mmd|)sh|su|eval|perl|python[0-9.]*|ruby|awk|gawk|mawk|env")
_CODE = re.compile(r"-[A-Za-z]*[ceE]|-S|--command")
"""The option whose value an interpreter runs as code."""

_MOST_TRIALS = 64

_SAMPLE = {"id": "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "cluster": "sample", "node": "node1", "type": "clusterbus.sample"}
_SAMPLE |= {"time": "2026-01-01T00:00:00.000000000Z", "subject": "sample", "category": "action", "severity": "info"}


class _Trial:
    """What a template of an action is rendered from: the parameters, earlier steps, and what every event has."""

    def __init__(self, parameters: Mapping[str, Value], steps: Mapping[str, Mapping[str, object]]) -> None:
        self._parameters, self._steps = parameters, steps

    def as_dict(self) -> Mapping[str, Any]:
        """Return the values by the names that templates use."""
        return {**_SAMPLE, "parameters": self._parameters, "steps": self._steps}


def check(action: Action) -> Iterator[Remark]:
    """Yield what is wrong with *action*; places are relative to its entry."""
    read: set[str] = set()
    run = action.run.model_dump(mode="json", exclude_unset=True)
    texts = [each._replace(place=("run", *each.place)) for each in action.run.template_texts(run)]
    guard = action.guard
    texts += [
        TemplateText(*each) for each in texts_in(list(guard.only_if or ()) if guard else None, ("guard", "only_if"))
    ]
    texts += [TemplateText(("guard", "acts_on"), guard.acts_on, "nodes")] if guard and guard.acts_on else []
    for each in texts:
        with suppress(TemplateError):
            read.update(Template(each.text).parameters)
        yield from about_template(action, each)
    for name, parameter in action.parameters.items():
        if name not in read:
            yield Remark(("parameters", name), "is read nowhere in `run`: use it as parameters.NAME, or remove it")
        if parameter.default is not None and parameter.optional:
            yield Remark(("parameters", name), "has a default, so it is never absent: remove optional")
    for place, words in _commands(run, ("run",)):
        yield from _shell_code(place, words)
        for at, message in shell_words.problems(words):
            yield Remark((*place, at), message, warning=True)


def about_template(action: Action, found: TemplateText) -> Iterator[Remark]:
    """Yield what is wrong with the template *found*, which reads the parameters of *action*."""
    try:
        template = Template(found.text)
    except TemplateError as error:
        yield Remark(found.place, str(error))
        return
    if message := _nowhere(action, template, found) or _failing(action, template):
        yield Remark(found.place, message)


def _nowhere(action: Action, template: Template, found: TemplateText) -> str:
    """Return what is wrong with a value that *template* reads and that is not there, or not allowed here."""
    known = action.parameters
    if names := [f"data.{each}" for each in template.variables]:
        return f"reads {', '.join(names)}: an action reads parameters only, so declare one with `from: {names[0]}`"
    if strange := [each for each in template.parameters if each not in known]:
        return f"no parameter {strange[0]}{did_you_mean(strange[0], known) or '; declare it below `parameters`'}"
    if later := found.unknown_step(template.steps):
        return later
    others = [each for each in template.parameters if known[each].type not in NODES]
    if found.field == "nodes" and others:
        return f"parameter {others[0]} is no node: only parameters of type node and nodes may name nodes"
    return ""


def _failing(action: Action, template: Template) -> str:
    """Return why *template* cannot be filled in with some values of the parameters; empty if it can."""
    if template.is_plain or template.facts:
        return ""  # facts have no samples here
    steps = {name: OF_A_STEP for name, _ in template.steps}
    for parameters in _trials(action, template.parameters):
        try:
            template.render(_Trial(parameters, steps))
        except TemplateError as error:
            lacking = [each for each in template.parameters if each not in parameters]
            return f"without the optional parameter {lacking[0]}: {error}" if lacking else str(error)
    return ""


def _trials(action: Action, names: Sequence[str]) -> Iterator[Mapping[str, Value]]:
    """Yield samples of the parameters *names*: each of their values, and none where that is allowed."""
    forms: list[list[Value | None]] = []
    for name in names:
        parameter = action.parameters[name]
        forms.append([*parameter.samples, *([None] if parameter.optional else [])])
    for at, values in enumerate(product(*forms)):
        if at >= _MOST_TRIALS:
            return
        yield {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _shell_code(place: Place, words: Sequence[str]) -> Iterator[Remark]:
    """Yield a remark for each value that an interpreter would run as code."""
    names = [PurePath(each).name for each in words]
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        is_code = bool(_CODE.fullmatch(before)) and any(_INTERPRETER.fullmatch(each) for each in names[: at - 1])
        if is_code and ("{{" in word or "{%" in word):
            message = "a value would become code: pass it as a word, as in [sh, -c, 'rm -- \"$1\"', sh, VALUE]"
            yield Remark((*place, at), message)


def _commands(value: object, place: Place) -> Iterator[tuple[Place, Sequence[str]]]:
    """Yield each list of words below the key `command` in *value*, at any depth."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "command" and isinstance(each, list):
                yield (*place, name), [str(word) for word in each]
            else:
                yield from _commands(each, (*place, name))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from _commands(each, (*place, at))
