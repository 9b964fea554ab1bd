"""The commands that show the catalogue of actions: `clusterbus actions list | show`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

import typer

from router.cli.app import Json, current
from router.cli.output import block, fail, fields, note, rows, say
from router.errors import did_you_mean
from router.settings import loading
from router.settings.models import Settings

from ...subscriptions.actions import action_files
from ...subscriptions.actions.action_files import Actions, Definition
from ...verbs.action.definitions import Action, refusal
from ...verbs.action.parameters import Parameter

actions_app = typer.Typer(help="Actions: what subscriptions and operators can run.", no_args_is_help=True)


def action_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of actions that begin with *incomplete*, for completion."""
    with suppress(Exception):
        # A completion does not run the command's root, which loads the settings.
        found = action_files.read(loading.load(context.find_root().params.get("file")).settings)
        return [each for each in found.definitions if each.startswith(incomplete)]
    return []


Name = Annotated[str, typer.Argument(help="The name of an action.", autocompletion=action_names)]


def known(context: typer.Context) -> Actions:
    """Return the actions of this site; say on stderr what is wrong in their files."""
    found = action_files.read(current(context))
    for each in (*found.mistakes, *found.warnings):
        note(str(each))
    return found


def named(context: typer.Context, name: str) -> Definition:
    """Return the action *name*; end the command if there is none."""
    found = known(context).definitions
    if name not in found:
        fail(f"there is no action {name}{did_you_mean(name, found) or ': clusterbus actions list shows all'}", 2)
    return found[name]


@actions_app.command("list")
def list_actions(context: typer.Context, *, as_json: Json = False) -> None:
    """Show all actions, with their classes and purposes."""
    settings = current(context)
    rows(
        known(context).definitions.values(),
        {
            "name": lambda each: each.action.name,
            "class": lambda each: each.action.class_,
            "from": _origin,
            "purpose": lambda each: _purpose(each, settings),
        },
        as_json=as_json,
        facts=lambda each: _facts(each, settings),
        empty="no actions",
    )


@actions_app.command()
def show(context: typer.Context, name: Name, *, as_json: Json = False) -> None:
    """Show one action: its parameters and where their values come from, what it runs, and its guards."""
    settings, found = current(context), named(context, name)
    if as_json:
        say(_facts(found, settings), as_json=True)
        return
    action = found.action
    lines: list[tuple[str, object]] = [("name", action.name), ("class", action.class_), ("purpose", action.purpose)]
    lines.append(("defined in", "clusterbus" if found.is_shipped else f"{found.file}:{found.line}"))
    if reason := refusal(action, settings):
        lines.append(("refused", reason))
    fields(lines)
    if action.parameters:
        block("\nparameters")
        rows(
            action.parameters.items(),
            {
                "name": lambda each: each[0],
                "type": lambda each: _type(each[1]),
                "value": lambda each: source_of(each[1]),
                "purpose": lambda each: each[1].purpose,
            },
        )
    block("\nruns")
    fields(_told(action.run.model_dump(mode="json", exclude_unset=True)))
    if action.defaults:
        block("\nunless a subscription says otherwise")
        fields(_told(action.defaults))


def source_of(parameter: Parameter) -> str:
    """Return where the value of *parameter* comes from if nobody gives one.

    >>> source_of(Parameter.model_validate({"type": "name", "from": "data.fsName"}))
    'from data.fsName'
    """
    default = "" if parameter.default is None else f"default {json.dumps(parameter.default, ensure_ascii=False)}"
    if parameter.from_ is not None:
        more = f", else {default}" if default else ", may be absent" if parameter.optional else ""
        return f"from {parameter.from_}{more}"
    return default or ("may be absent" if parameter.optional else "must be given")


def _type(parameter: Parameter) -> str:
    own = parameter.model_dump(
        mode="json", exclude_unset=True, exclude={"type", "purpose", "from_", "default", "optional"}
    )
    bounds = ", ".join(f"{name} {_text(value)}" for name, value in own.items())
    return f"{parameter.type} ({bounds})" if bounds else parameter.type


def _told(found: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in found.items():
        if name in ("steps", "always"):
            # One line for each step is what people compare.
            yield from ((f"{name}: {each['name']}", _text(_without_name(each))) for each in value)
        elif value not in ([], {}, None):
            yield name, _text(value)


def _without_name(step: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in step.items() if name != "name"}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _origin(found: Definition) -> str:
    return "shipped" if found.is_shipped else "site"


def _purpose(found: Definition, settings: Settings) -> str:
    refused = " (refused: consumers.destroy does not list it)" if refusal(found.action, settings) else ""
    return f"{found.action.purpose}{refused}"


def _facts(found: Definition, settings: Settings) -> Mapping[str, object]:
    """Return all that is known of an action; parameters that events give are apart from those that people give."""
    action: Action = found.action
    names = action.parameters
    return {
        **action.model_dump(mode="json", exclude_unset=True, exclude={"run", "parameters"}),
        "parameters": {name: each.model_dump(mode="json", exclude_unset=True) for name, each in names.items()},
        "explicit": [name for name, each in names.items() if each.from_ is None],
        "implied": [name for name, each in names.items() if each.from_ is not None],
        "run": action.run.model_dump(mode="json", exclude_unset=True),
        "defaults": dict(action.defaults),
        "refused": refusal(action, settings),
        "shipped": found.is_shipped,
        "file": found.file,
        "line": found.line,
    }
