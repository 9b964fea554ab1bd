"""The command `clusterbus alerts rules`: the rules of alerts that are in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from router.cli.app import Json, current
from router.cli.output import block, rows
from router.settings.site_catalogue import catalogues

from ...alerts import rules_page
from ...alerts.rules import Rule
from ..options import FileOption, loaded


def rules(
    context: typer.Context,
    *,
    file: FileOption = None,
    as_page: Annotated[bool, typer.Option("--page", help="Print the page of alerts, in Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Show the rules of alerts that are in force: what opens and closes them, and what this site has changed."""
    found, known = loaded(context, file).alerts, catalogues(current(context))
    if as_page:
        block(rules_page.page(found, known))
        return
    columns: dict[str, Callable[[Rule], object]] = {
        "rule": lambda each: each.name,
        "origin": rules_page.origin,
        "severity": lambda each: rules_page.severity(each, known),
        "by": lambda each: ", ".join(each.by),
        "opens": lambda each: ", ".join(each.opens),
        "closes": rules_page.closing,
    }
    rows(found, columns, as_json=as_json, facts=_facts)


def _facts(rule: Rule) -> dict[str, object]:
    return rule.model_dump(mode="json") | {"origin": rules_page.origin(rule)}
