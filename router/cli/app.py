"""What all commands of `clusterbus` share: the list of commands, settings, the client for the broker.

Exit codes: 0 done, 1 found a problem, 2 wrong usage, 3 cannot reach the broker or another system that it needs.
"""

from __future__ import annotations

import getpass
import io
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info, get_group
from typer.models import CommandInfo

from . import logging, output

if TYPE_CHECKING:
    from ..broker.client import Rabbit
    from ..broker.session import Session
    from ..broker.topology import Topology
    from ..model.moments import Reading
    from ..settings.loading import Loaded
    from ..settings.models import Settings

log = getLogger(__name__)

LONGEST_AUTHOR = 100
"""The most characters of the name of who does something."""

# The base class of typer's errors for a wrong command line; typer does not export it.
_WRONG_USE: Any = typer.BadParameter.__base__


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command or a group of commands is defined; *help* is its line in the list of commands."""

    module: str
    name: str
    help: str
    options: Mapping[str, Any] = field(default_factory=dict)


class _Commands(dict[str, Any]):
    """Commands by name; a command is imported when it is used."""

    def __init__(self, entries: Mapping[str, Entry], registered: Mapping[str, Any]) -> None:
        """Know the names of *entries*; the *registered* commands are imported already."""
        super().__init__(dict.fromkeys(entries) | dict(registered))
        self._entries = entries

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a command of click, which comes with typer
        """Return the command *name*."""
        if super().__getitem__(name) is None:
            self[name] = _made(name, self._entries[name])
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - idem
        """Return the command *name*, or *default*."""
        return self[name] if name in self else default  # noqa: SIM401 - `get` itself

    def items(self) -> Any:  # noqa: ANN401 - idem
        """Return all commands with their names; imports all of them."""
        return {name: self[name] for name in self}.items()


def _made(name: str, entry: Entry) -> Any:  # noqa: ANN401 - a command of click
    found = getattr(import_module(entry.module), entry.name)
    command: Any
    if isinstance(found, typer.Typer):
        # Typer reads help texts as markup unless told otherwise, and a group that is loaded later inherits nothing.
        found.rich_markup_mode = None
        command = get_group(found)
    else:
        info = CommandInfo(name=name, callback=found, **entry.options)
        command = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)
    command.name = name
    return command


class Commands(TyperGroup):
    """The commands of a program; each is imported only when it is used.

    Errors in a command line are printed with escapes, like all other output.
    """

    entries: Mapping[str, Entry] = {}

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - click's
        """Create the group with the commands in `entries` and those registered with typer."""
        super().__init__(**options)
        self.commands = _Commands(self.entries, self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - click's
        """List the commands without importing them."""
        if not self.entries:
            super().format_commands(ctx, formatter)
            return
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.entries.items()])

    def main(  # type: ignore[override]  # its other arguments stay click's
        self,
        args: Sequence[str] | None = None,
        *,
        standalone_mode: bool = True,
        **options: Any,  # noqa: ANN401 - idem
    ) -> Any:  # noqa: ANN401 - what a command returns
        """Run the command that *args* name, and exit with its exit code."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **options)
        try:
            sys.exit(super().main(args, standalone_mode=False, **options))
        except typer.Abort:
            output.fail("aborted")
        except _WRONG_USE as error:
            text = io.StringIO()
            error.show(file=text)
            output.fail(text.getvalue().replace("Value error, ", "", 1), error.exit_code)


Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs, one document on each line.")]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
_LONG_RUNNING = frozenset({"router", "consume", "up", "demo"})


def log_level(given: Level | None, command: str | None) -> Level:
    """Return the level from which *command* logs: all others than long-running programs print only what is wrong.

    >>> log_level(None, "consume"), log_level(None, "status"), log_level("DEBUG", "status")
    ('INFO', 'WARNING', 'DEBUG')
    """
    return given or ("INFO" if command in _LONG_RUNNING else "WARNING")


def program(commands: type[Commands]) -> typer.Typer:
    """Return the command line with *commands* and with the options for log, settings and broker."""
    app = typer.Typer(
        name="clusterbus",
        cls=commands,
        help="An event router for cluster callbacks.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - it takes a tenth of the time of `--help`

        output.show(f"clusterbus {version('clusterbus')}")
        raise typer.Exit


def root(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option("--settings", help="Read this settings file too, after the one of the system.")
    ] = None,
    broker: Annotated[str | None, typer.Option("--broker", help="URLs of brokers, separated by spaces.")] = None,
    level: Annotated[
        Level | None,
        typer.Option(
            "--log-level", case_sensitive=False, help="Log from this level; by default INFO in long-running programs."
        ),
    ] = None,
    form: Annotated[
        logging.Format, typer.Option("--log-format", help="auto means console on a terminal, json elsewhere.")
    ] = "auto",
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Route cluster callbacks as events."""
    logging.configure(form=form, level=log_level(level, context.invoked_subcommand))
    from ..settings import loading  # noqa: PLC0415 - `clusterbus --help` needs no settings

    context.obj = loading.load(file, options={"broker.url": broker})


def current(context: typer.Context) -> Settings:
    """Return the settings of the running command."""
    return loaded(context).settings


def loaded(context: typer.Context) -> Loaded:
    """Return the settings of the running command, and where each comes from."""
    found: Loaded = context.find_root().obj
    return found


def moment(option: str, text: str, now: datetime, *, ahead: bool = False) -> Reading:
    """Return what *text* of *option* means, with `moments.read`; ends the command where that is no time."""
    from ..model import moments  # noqa: PLC0415 - only few commands take a time
    from ..settings.local_zone import local_zone  # noqa: PLC0415 - idem

    try:
        return moments.read(text, now, local_zone(), ahead=ahead)
    except ValueError as error:
        output.fail(f"{option}: {error}", 2)


def past(option: str, text: str, now: datetime) -> datetime:
    """Return the moment in the past that *text* of *option* means; says which day was assumed, on standard error."""
    from ..model.moments import shown  # noqa: PLC0415 - as `moment`

    found = moment(option, text, now)
    if found.moment > now:
        output.fail(f"{option}: {shown(found.moment)} is still to come: give a time in the past", 2)
    if found.note:
        output.note(f"{option}: {found.note}, {shown(found.moment)}")
    return found.moment


def connect(
    context: typer.Context,
    name: str,
    *,
    section: str = "",
    impatient: bool = False,
    facts: Mapping[str, str] | None = None,
) -> Rabbit:
    """Return a client for program *name* to the broker in the settings; it logs in as *section* says, such as "router".

    The broker is told *facts* of the program, beside its machine and process.

    An *impatient* client gives up after `broker.patience`; any other tries forever.
    """
    from ..broker import addresses  # noqa: PLC0415 - idem
    from ..broker.client import Rabbit  # noqa: PLC0415 - only commands that use the broker import pika

    settings = current(context)
    wanted, urls = settings.broker, settings.urls(section)
    for each in () if impatient else addresses.readable(urls):
        log.warning(
            "the network can read what is sent to this broker", extra={"reason": f"{each} {addresses.READABLE}"}
        )
    return Rabbit(
        urls,
        name=name,
        progress_limit=wanted.progress_limit,
        give_up=wanted.patience if impatient else None,
        facts={"host": socket.gethostname(), "process": str(os.getpid())} | dict(facts or {}),
    )


def open_session(context: typer.Context, name: str) -> Session:
    """Return a session with the broker in the settings, for a few requests one after another."""
    from ..broker.session import Session  # noqa: PLC0415 - idem

    wanted = current(context).broker
    return Session(wanted.urls(), name=name, limit=wanted.patience)


def topology(context: typer.Context) -> Topology:
    """Return the base topology, with the limits of history in the settings."""
    from ..broker.topology import base  # noqa: PLC0415 - idem

    history = current(context).history
    return base(history_age=history.age, history_bytes=history.size)


def who() -> str:
    """Return the name of the person who runs the command, with sudo too; the user's number if it has no name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return os.environ.get("SUDO_USER") or name


def author_of(option: str, given: str | None) -> str:
    """Return who does it: *given* with *option*, by default `who`; end the command where that is empty or too long."""
    name = who() if given is None else given.strip()
    if not name:
        output.fail(f"{option} is empty: name who does it, or leave it out", 2)
    if len(name) > LONGEST_AUTHOR:
        output.fail(f"{option} has {len(name)} characters, and the limit is {LONGEST_AUTHOR}", 2)
    return name
