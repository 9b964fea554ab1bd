"""The keys of an entry that have no meaning with its verb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..config.event_samples import Remark
from .interface import installed

_KEYS = ("order_by", "delay", "fold", "once_per", "limit", "guard")


def remarks(raw: Mapping[str, object], kind: str | None) -> Iterator[Remark]:
    """Yield a remark for each key of the entry *raw* that has no meaning with its verb *kind*."""
    why = "which writes every event in order" if kind == "log" else "which sends every change of an alert in order"
    for name in _without(kind):
        if raw.get(name) not in (None, []):
            yield Remark((name,), f"cannot be used with {kind}, {why}: remove it")
    if kind == "log" and raw.get("mode") == "shadow":
        yield Remark(("mode",), "log cannot run in shadow mode, because writing is its only effect: use live or off")


def conditions(properties: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield schemas that say the same, for entries with these *properties*: such keys are absent or empty."""
    for kind in installed():
        allowed: dict[str, Any] = {name: {"enum": [None, []]} for name in _without(kind) if name in properties}
        if kind == "log":
            allowed["mode"] = {"not": {"const": "shadow"}}
        if allowed:
            yield {"if": {"required": [kind]}, "then": {"properties": allowed}}


def _without(kind: str | None) -> Sequence[str]:
    return _KEYS if kind == "log" or (kind and installed()[kind].keeps_alerts) else ()
