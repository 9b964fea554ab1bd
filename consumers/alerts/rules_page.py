"""The page of the rules of alerts that are in force: what opens and closes each, and what it is about.

`clusterbus alerts rules --page` writes it, with what this site changes; `consumers/alerts/rules.md` is that of the
program.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from router.model import durations
from router.model.catalogue import Catalogues
from router.model.events import SEVERITIES
from router.sources.event_selectors import select

from . import shipped_rules
from .rules import Rule

_WIDTH = 118
_INTRODUCTION = """\
# Rules of alerts

These rules are in force unless a site changes or switches them off: [alerts](README.md) says how.
`clusterbus alerts rules` shows them in a terminal, and `clusterbus alerts rules --page` prints this page, with what
your site changes and adds.
"""

_NOTES = """\
No rule watches mounts: nodes unmount when they stop, and no event says that it was not wanted; `node-down` and
`daemon-down` say that a node stopped. A daemon that stopped by itself is an error; a shutdown that somebody asked for
is a notice. Consumers that stop are not reported by events: `clusterbus doctor` and the metrics see them.
"""


def page(rules: Iterable[Rule], catalogues: Catalogues) -> str:
    """Return the page, in Markdown, with the table of *rules*; their events are in *catalogues*."""
    return "\n".join(_lines(tuple(rules), catalogues)).rstrip("\n") + "\n"


def origin(rule: Rule) -> str:
    """Return where *rule* comes from: `shipped`, `changed`, `own`, or `off` if it is switched off."""
    if not rule.enabled:
        return "off"
    shipped = shipped_rules.rules().get(rule.name)
    if shipped is None:
        return "own"
    return "shipped" if shipped == rule else "changed"


def closing(rule: Rule) -> str:
    """Return what closes alerts of *rule*, in one line.

    >>> closing(shipped_rules.rules()["space"])
    'after 2h without another'
    """
    ways = [" or ".join(rule.closes)] if rule.closes else []
    ways += ["facts"] if rule.closes_when else []
    ways += [f"after {durations.text(rule.closes_after)} without another"] if rule.closes_after else []
    return "; ".join(ways)


def severity(rule: Rule, catalogues: Catalogues) -> str:
    """Return the severities of alerts of *rule*, in one line; those of its events are in *catalogues*.

    >>> known = Catalogues.shipped()
    >>> severity(shipped_rules.rules()["node-down"], known), severity(shipped_rules.rules()["space"], known)
    ('error', 'warning or critical')
    >>> severity(shipped_rules.rules()["daemon-down"], known)
    'notice; error by expression'
    """
    kinds = (kind for text in rule.opens for kind in select(text, catalogues).types)
    found = {level for kind in kinds for level in kind.severities}
    usual = rule.severity or " or ".join(each for each in SEVERITIES if each in found) or "as the event"
    return f"{usual}; {' or '.join(rule.severity_if)} by expression" if rule.severity_if else usual


def _lines(rules: Sequence[Rule], catalogues: Catalogues) -> Iterator[str]:
    yield from _INTRODUCTION.splitlines()
    yield ""
    own = any(origin(each) != "shipped" for each in rules)
    yield from _table(rules, catalogues, with_origin=own)
    yield ""
    yield from _NOTES.splitlines()
    yield ""
    for each in rules:
        yield from _details(each)


def _table(rules: Sequence[Rule], catalogues: Catalogues, *, with_origin: bool) -> Iterator[str]:
    names = ("rule", "opens", "closes", "about", "severity", *(("origin",) if with_origin else ()))
    yield f"| {' | '.join(names)} |"
    yield "|" + "---|" * len(names)
    for each in rules:
        about = ", ".join(place.removeprefix("data.") for place in each.by) or "the cluster"
        cells = [f"`{each.name}`", ", ".join(each.opens), closing(each), about, severity(each, catalogues)]
        cells += [origin(each)] if with_origin else []
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _details(rule: Rule) -> Iterator[str]:
    """Yield what the table has no room for, if there is any."""
    expressions = [("opens if", rule.opens_if), ("closes if", rule.closes_if), ("closes when", rule.closes_when)]
    expressions += [(f"{level} if", text) for level, text in rule.severity_if.items()]
    said = [f"{name} `{' '.join(text.split())}`" for name, text in expressions if text]
    said += [f"asks the facts every {durations.text(rule.ask_every)}"] if rule.ask_every else []
    said += [f"suppresses {', '.join(f'`{each}`' for each in rule.suppresses)}"] if rule.suppresses else []
    said += [f"reminds every {durations.text(rule.remind)}"] if rule.remind else []
    said += [f"one alert stands for more than {rule.group.over}"] if rule.group else []
    if said:
        yield from textwrap.wrap(
            f"- `{rule.name}`: {'; '.join(said)}.",
            _WIDTH,
            break_long_words=False,
            break_on_hyphens=False,
            subsequent_indent="  ",
        )
