"""The page of the catalogue: every event of each source, with what it means, its variables, and a sample.

`clusterbus catalogue --page` writes it, with what this site adds; `router/sources/README.md` is that of the program.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator

from router.cluster.callbacks.gpfs import risks
from router.cluster.callbacks.gpfs.wanted import PREFIX
from router.cluster.callbacks.qube.triggers import trigger_of
from router.model.catalogue import Catalogue, Catalogues, EventType, Variable

from .registrations import Registrations
from .synthetic_events import sample

_WIDTH = 118

_INTRODUCTION = """\
# Catalogue: events and variables

All events that clusterbus knows, by source and category. `clusterbus catalogue` shows them in a terminal, and
`clusterbus catalogue --page` prints this page, with what your site adds. A variable that is `null` in a sample does not
apply to that event: GPFS passes the variables of a whole category.

## Add events and variables of a newer release

A newer GPFS need not wait for a newer clusterbus. Write what it has in `/etc/clusterbus/catalogue.yaml` (setting
`router.catalogue`) on each machine that runs a router, consumers or `clusterbus callbacks`, then restart these:

```yaml
# yaml-language-server: $schema=catalogue.schema.json
version: 1
gpfs:
  variables:
    tierName: {type: word, meaning: The tier that files moved to, example: cold}
    movedData: {type: integer, unit: KiB, example: "1048576"}
  events:
    tierMoved:
      category: space
      severity: notice
      variables: [fsName, tierName, movedData]
      subject: [fsName]
      meaning: Files have moved to another tier.
  changes:
    lowDiskSpace: {severity: error, variables: [tierName]}
```

| key | meaning |
|---|---|
| `categories` | new families of events, each with its meaning |
| `variables` | new variables: `type`, `meaning`, `example`, `unit`, and `separator` of a list |
| `events` | new events: `category`, `meaning`, `severity`, `scope`, `variables`, `subject`, and more |
| `changes` | what differs here for a known event: `severity`, `meaning`, `default`, additional `variables` |

A type is `word`, `text`, `integer`, `number`, `node`, or a list: `names`, `nodes`. Such events are registered by
`clusterbus callbacks apply`, typed by the router, and known to every command. Nothing here replaces what the release
knows: after an update that brings the same event, `clusterbus check` warns and the release's own is used.
`clusterbus schema catalogue` prints the JSON Schema of the file, with all keys.

Sources of your own, such as a batch system, stand below `sources`, each with `categories`, `variables` and `events`;
[services publish their events](../services/producers.md).
"""


def page(registrations: Registrations) -> str:
    """Return the page, in Markdown, of the catalogues of *registrations*."""
    return "\n".join(_lines(registrations.catalogues, registrations)).rstrip("\n") + "\n"


def _lines(catalogues: Catalogues, registrations: Registrations) -> Iterator[str]:
    yield from (*_INTRODUCTION.splitlines(), "")
    for catalogue in catalogues.values():
        yield f"## {catalogue.source}"
        yield ""
        if catalogue.common:
            yield from _wrapped("Any event of this source may have these variables:")
            yield from _table([catalogue.variables[each] for each in catalogue.common])
        for category, meaning in catalogue.categories.items():
            events = [each for each in catalogue.events.values() if each.category == category]
            if events:
                yield f"### {catalogue.source}: {category}"
                yield ""
                yield from _wrapped(f"{meaning.rstrip('.')}.")
            for each in events:
                yield from _event(each, catalogue, registrations)


def _event(event: EventType, catalogue: Catalogue, registrations: Registrations) -> Iterator[str]:
    yield f"#### {event.name}"
    yield ""
    yield from _wrapped(event.meaning)
    where = f" on {event.runs_on}" if event.runs_on else ""
    since = f", since {event.since}" if event.since else ""
    yield from _wrapped(f"Severity `{event.severity}`, scope `{event.scope}`{where}{since}. {_registration(event)}")
    if event.variables:
        yield from _table([catalogue.variables[each] for each in event.variables], event.optional)
    made = sample(event, registrations)
    yield "```json"
    yield json.dumps({"type": made.type, "subject": made.subject, "data": made.data}, ensure_ascii=False)
    yield "```"
    yield ""


def _registration(event: EventType) -> str:
    match event.source:
        case "gpfs":
            if (danger := risks.of_event(event)) is None:
                return f"Registered by default, with the callback `{PREFIX}{event.category}`."
            setting = f"`gpfs: {{events: default {event.name}, accept: {event.name}}}`"
            return f"Not registered by default: {danger.rstrip('.')}. To register it, set {setting}."
        case "qube":
            usually = "Registered by default" if event.default else "Not registered by default"
            return f"{usually}, with the trigger `{trigger_of(event).expression}`."
        case _:
            return "Sent by clusterbus itself: it needs no registration."


def _table(variables: Iterable[Variable], optional: Iterable[str] = ()) -> Iterator[str]:
    yield "| variable | type | unit | example | meaning |"
    yield "|---|---|---|---|---|"
    for each in variables:
        values = f" Always {' or '.join(each.values)}." if each.values else ""
        meaning = each.meaning + values + (" May be absent." if each.name in optional else "")
        cells = (f"`{each.name}`", each.type, each.unit or "", f"`{each.example}`" if each.example else "", meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _wrapped(text: str) -> list[str]:
    return [*textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False), ""]
