"""Write the title and body of a notification in plain text, HTML or Markdown.  Pure: no service, no clock.

No value of an event can add markup, lines or endless text: values are put on one line and cut before a template is
rendered, and escaped for the format of the message.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from router.cluster.facts.views import Named
from router.model import ids
from router.model.catalogue import EVENT_NAME, Catalogues
from router.model.events import Event, Value
from router.settings.local_zone import local_zone

from ...deliveries import Delivery
from ...expressions.sanitize import one_line, shortened
from ...expressions.templates import Template
from ...expressions.values.alert_values import is_change
from ...folds import Fold, FoldedAlert
from . import alert_texts
from .message import Format, Importance, Message
from .options import NotifyOptions

LONGEST_TITLE = 200
LONGEST_BODY = 16384
_LONGEST_VALUE = 1000
_LONGEST_ITEM = 120
_MOST_ITEMS = 100

_MARKDOWN = re.compile(r"([\\_*\[\]()~`<>#+=|{}.!&-])")
# What chat services interpret as a mention in any text.
_MENTION = re.compile(r"@(?=(?:everyone|here|channel|all)\b)|<(?=[!@#])", re.IGNORECASE)
_BROKEN = "\u2060"
"""A word joiner, which is invisible and breaks a mention."""

_BY_SEVERITY: Mapping[str, Importance] = {"warning": "warning", "error": "failure", "critical": "failure"}


class Messages:
    """Writes the messages of one subscription; any thread may use it."""

    def __init__(self, verb: NotifyOptions, catalogues: Catalogues, link: str = "") -> None:
        """Use the templates of *verb*, or by default the meanings and units of *catalogues*.

        *link* is the page of an alert, with `{alert}` for its id; empty if there is none.
        """
        self._title, self._body, self._html = (
            Template(text) if text is not None else None for text in (verb.title, verb.body, verb.html)
        )
        self._importance = verb.importance
        self._catalogues, self._link = catalogues, link

    def message(self, delivery: Delivery, wanted: Format) -> Message:
        """Return the message about *delivery* in the format *wanted*; raises TemplateError if it cannot be rendered."""
        plain = _Plain(delivery)
        title = self._title.render_text(plain) if self._title else _title(plain.event, plain.fold)
        of_alert = alert_texts.importance(plain.event, plain.fold) if is_change(plain.event) else None
        importance = self._importance or of_alert or _BY_SEVERITY.get(plain.event.severity, "info")
        body, written = self._written(plain, wanted)
        # Do not cut HTML, since that would break its markup; rendered templates are limited anyway.
        body = body if written == "html" else shortened(body, LONGEST_BODY)
        # Values are on one line already, but the template may have several lines.
        title = " ".join(title.splitlines()).strip() or plain.event.name
        return Message(shortened(title, LONGEST_TITLE), body, written, importance, _thread(delivery))

    def _written(self, plain: _Plain, wanted: Format) -> tuple[str, Format]:
        """Return the body and its format: text if there is no template for the format *wanted*."""
        if wanted == "html" and self._html:
            return self._html.render_escaped(plain, html.escape), "html"
        if self._body and wanted == "markdown":
            return self._body.render_escaped(plain, _escape_markdown), "markdown"
        if self._body:
            return self._body.render_text(plain), "text"
        if is_change(plain.event):
            said = alert_texts.facts(plain.event, plain.fold, self._link, local_zone())
        else:
            said = facts(plain.event, plain.fold, self._catalogues)
        return _WRITERS[wanted]([*said, *plain.meta.items()]), wanted


def facts(event: Event, fold: Fold, catalogues: Catalogues) -> Iterator[tuple[str, str]]:
    """Yield the description of *event* and its *fold* as names and values; an empty name marks a heading."""
    catalogue = catalogues.of(event.origin)
    known = catalogue.get(event.name)
    yield "", f"{event.name} {event.subject}" if event.subject else event.name
    if known and known.meaning:
        yield "meaning", known.meaning
    yield "severity", event.severity
    yield "cluster", event.cluster
    if fold.count > 1:
        yield "events", str(fold.count)
        yield "nodes", fold.nodes
        yield "first", fold.first
        yield "last", fold.last
    else:
        yield "node", event.node
        yield "time", event.time
    for name, value in event.data.items():
        if name == EVENT_NAME:
            # The heading has it.
            continue
        values = list(fold.values.get(name, ())) if fold.count > 1 else [value]
        if text := ", ".join(_text(each) for each in values if each is not None):
            variable = catalogue.variable(name)
            yield name, f"{text} {variable.unit}" if variable and variable.unit else text
    yield "event id", event.id


class _Plain:
    """A delivery whose values are safe to show: cut, on one line, without invisible characters."""

    def __init__(self, delivery: Delivery) -> None:
        self.event = _event(delivery.event)
        fold = delivery.fold
        values = {one_line(name): [_value(each) for each in some] for name, some in fold.values.items()}
        alerts = tuple(map(_alert, fold.alerts))
        nodes = shortened(one_line(fold.nodes), _LONGEST_VALUE)
        self.fold = replace(fold, nodes=nodes, values=values, alerts=alerts)
        self.meta = {name: shortened(one_line(text), _LONGEST_VALUE) for name, text in delivery.meta.items()}
        self._delivery = delivery

    def as_dict(self) -> Mapping[str, Any]:
        known = self._delivery.known
        facts = {"facts": _PlainFacts(known.for_templates())} if known else {}
        return self.event.as_dict() | {"fold": self.fold.as_dict(), "meta": self.meta} | facts


class _PlainFacts(Named):
    """Facts whose texts are made safe when they are read, since there may be thousands."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(facts)
        self._facts = facts

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - plain values
        # Read from the original mapping, which knows other spellings of names.
        found = self._facts[name]
        return _PlainFacts(found) if isinstance(found, Mapping) else _value(found)


def _event(event: Event) -> Event:
    texts = {name: _plain(value, _LONGEST_VALUE) for name, value in event if isinstance(value, str)}
    return event.model_copy(
        update={**texts, "data": {one_line(name): _value(each) for name, each in event.data.items()}}
    )


def _alert(alert: FoldedAlert) -> FoldedAlert:
    texts = {name: getattr(alert, name) for name in ("id", "rule", "summary", "severity", "state", "since", "until")}
    safe: dict[str, Any] = {name: _plain(text, _LONGEST_VALUE) for name, text in texts.items()}
    return replace(alert, **safe)


def _thread(delivery: Delivery) -> str:
    """Return the alert that the message is about, and its thread: none where it is about several, or about none."""
    if not is_change(delivery.event) or len(delivery.fold.alerts) > 1:
        return ""
    alert = delivery.event.data["alert"]
    return alert if isinstance(alert, str) and ids.is_id(alert) else ""


def _value(value: Value) -> Value:
    if isinstance(value, str):
        return _plain(value, _LONGEST_VALUE)
    if isinstance(value, list):
        items = [_plain(each, _LONGEST_ITEM) for each in value[:_MOST_ITEMS]]
        return [*items, f"and {len(value) - _MOST_ITEMS} more"] if len(value) > _MOST_ITEMS else items
    return value


def _plain(text: str, limit: int) -> str:
    # Cut first, so that long texts are not searched.
    return _MENTION.sub(lambda found: found[0] + _BROKEN, one_line(shortened(text, limit)))


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _title(event: Event, fold: Fold) -> str:
    if is_change(event):
        return alert_texts.title(event, fold)
    about = f" {event.subject}" if event.subject else ""
    where = f"{fold.count} events, {fold.nodes}" if fold.count > 1 else event.node
    return f"[{event.severity}] {event.name}{about} ({event.cluster}: {where})"


def _as_text(lines: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" if name else f"{value}\n" for name, value in lines)


def _as_html(lines: Sequence[tuple[str, str]]) -> str:
    rows = (
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        if name
        else f'<tr><td colspan="2"><b>{html.escape(value)}</b></td></tr>'
        for name, value in lines
    )
    return f"<table>{''.join(rows)}</table>"


def _as_markdown(lines: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        f"- {_escape_markdown(name)}: {_escape_markdown(value)}" if name else f"**{_escape_markdown(value)}**\n"
        for name, value in lines
    )


def _escape_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


_WRITERS = {"text": _as_text, "html": _as_html, "markdown": _as_markdown}
