"""What templates may read of earlier steps: text that is whole, never a part of it or a mixture.

A value is text wherever it goes: a word that it fills may not begin with its dash, a node set with it has no groups,
and it is never read as a template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....errors import TemplateError
from ....expressions.templates import Template
from ..node_targets import unfold

LONGEST = 32768
"""Most octets of an output that a template may read."""

Results = Mapping[str, Mapping[str, Any]]


class About:
    """What a template of a step is rendered from: the *values* of the delivery, and the *results* of earlier steps."""

    def __init__(self, values: Mapping[str, Any], results: Results) -> None:
        """Read *values* by their names, and each of *results* under `steps`."""
        self._values, self._results = values, results

    def as_dict(self) -> Mapping[str, Any]:
        """Return the values by the names that templates use."""
        return {**self._values, "steps": {name: of_step(result) for name, result in self._results.items()}}

    def render(self, text: str, *, is_word: bool = True) -> str:
        """Return the template *text* filled in, as a word of a command or any text.  Raises TemplateError."""
        template = Template(text)
        for name, part in template.steps:
            if part == "output" and (problem := unusable(self._results.get(name, {}))):
                raise TemplateError(f"the output of step {name} cannot be used: {problem}")
        return template.render(self) if is_word else template.render_text(self)


def of_step(result: Mapping[str, Any]) -> dict[str, object]:
    r"""Return the values of a step with this *result*; what is not known is absent.

    >>> of_step({"state": "done", "exit": {"0": "hub1"}, "output": [{"nodes": "hub1", "text": "a b\n", "octets": 4}]})
    {'state': 'done', 'output': 'a b', 'exit': 0}
    """
    found: dict[str, object] = {"state": result.get("state")}
    if result.get("state") in {"done", "failed"} and not unusable(result):
        texts = result.get("output") or [{"text": ""}]
        found["output"] = texts[0]["text"].rstrip("\n")
    if codes := result.get("exit"):
        found["exit"] = max(map(int, codes))
    nodes = result.get("nodes") or {}
    return found | {name: nodes[name] for name in ("succeeded", "failed") if nodes.get(name)}


def unusable(result: Mapping[str, Any]) -> str:
    """Return why the output in *result* is no single, whole text; empty if it is one, or if there is none.

    >>> unusable({"output": [{"nodes": "n[1-2]", "text": "a", "octets": 1}, {"nodes": "n3", "text": "b", "octets": 1}]})
    'its nodes printed different texts'
    """
    texts = result.get("output") or []
    if not texts:
        return ""
    nodes = result.get("nodes") or {}
    everywhere = {name for each in nodes.values() for name in unfold(each)}
    if len(texts) > 1 or (everywhere and {*unfold(texts[0]["nodes"])} != everywhere):
        return "its nodes printed different texts"
    octets = texts[0]["octets"]
    if octets > LONGEST:
        return f"it has {octets:,} octets, and the limit is {LONGEST:,}"
    # What is not UTF-8 was replaced by a character of another length.
    if octets != len(texts[0]["text"].encode()):
        return f"of its {octets:,} octets some were cut off (see output), or are not UTF-8"
    return ""


def shortened(parts: Mapping[str, Any], limit: int) -> dict[str, object]:
    """Return *parts*, the results of steps by part, with at most *limit* octets of texts in all: the first ones stay.

    >>> steps = [{"name": "a", "output": [{"nodes": "n1", "text": "abc", "octets": 3}]}]
    >>> shortened({"steps": steps}, 2)
    {'steps': [{'name': 'a', 'output': [{'nodes': 'n1', 'text': 'ab', 'octets': 3}]}]}
    """
    left = limit

    def cut(each: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal left
        kept = each["text"].encode()[: max(0, left)].decode("utf-8", "ignore")
        left -= len(kept.encode())
        return {**each, "text": kept}

    def one(step: Mapping[str, Any]) -> dict[str, Any]:
        return {**step, **{name: [cut(each) for each in step[name]] for name in ("output", "errors") if name in step}}

    return {part: [one(step) for step in steps] for part, steps in parts.items()}
