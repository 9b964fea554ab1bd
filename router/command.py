"""What every command of `clusterbus` shares: settings, the line to the broker, output, exit codes.

Exit codes: 0 done, 1 found something wrong, 2 used wrongly, 3 cannot reach what it needs.
"""

import gc
import json
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import logs, settings
from .broker import Broker
from .broker.rabbit import Rabbit
from .broker.session import Session
from .broker.topology import Topology, base
from .errors import SettingsError
from .sections import Settings

app = typer.Typer(
    name="clusterbus",
    help="An event router for cluster callbacks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Json = Annotated[bool, typer.Option("--json", help="One JSON document a line, for programs.")]
_VERDICTS = {"good": "green", "look": "yellow", "wrong": "red"}
SEVERITIES = {"info": "dim", "notice": "cyan", "warning": "yellow", "error": "red", "critical": "bold red"}


@app.callback()
def root(
    context: typer.Context,
    file: Annotated[Path | None, typer.Option("--settings", help="Settings file, over the system's.")] = None,
    broker: Annotated[str | None, typer.Option("--broker", help="Broker URLs, separated by blanks.")] = None,
    level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Route cluster callbacks as events."""
    logs.configure(level=level.upper())
    context.obj = settings.load(file, options={"broker.url": broker})


def current(context: typer.Context) -> Settings:
    """Return the settings of the command that is running."""
    return loaded(context).settings


def loaded(context: typer.Context) -> settings.Loaded:
    """Return the settings of the command that is running, with where each was set."""
    found = context.find_root().obj
    if not isinstance(found, settings.Loaded):
        raise SettingsError("settings were not loaded")
    return found


def connect(context: typer.Context, name: str, *, impatient: bool = False) -> Rabbit:
    """Return a line to the broker of the settings for program *name*; an *impatient* one gives up."""
    wanted = current(context).broker
    return Rabbit(
        wanted.urls(),
        name=name,
        progress_limit=wanted.progress_limit,
        give_up=wanted.patience if impatient else None,
    )


def topology(context: typer.Context) -> Topology:
    """Return the base topology with the settings' history."""
    history = current(context).history
    return base(history_age=history.age, history_bytes=history.size)


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    def leave(*_: object) -> None:
        stop()

    before = {each: signal.signal(each, leave) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def run_until_stopped(broker: Broker, stop: Callable[[], None] | None = None) -> None:
    """Run *broker*; SIGTERM and SIGINT end it in good order, by *stop*, which is the broker's own by default."""
    # What was made until now stays for good: the collector need not look through all modules after every few records.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    with _signals(lambda: broker.call(stop or broker.stop)):
        broker.run()


def open_session(context: typer.Context, name: str) -> Session:
    """Return a session with the broker of the settings, for a few things done one after the other."""
    wanted = current(context).broker
    return Session(wanted.urls(), name=name, limit=wanted.patience)


def say(line: object, *, as_json: bool, text: str | None = None) -> None:
    """Print *line* as JSON, or *text* for people."""
    typer.echo(json.dumps(line, default=str) if as_json else text if text is not None else str(line))


def show_verdicts(rows: Iterable[tuple[str, str, str, str]]) -> None:
    """Print a table of *rows*, each a verdict (`good`, `look`, `wrong`), a part, what was seen and, if any, advice."""
    table = Table(box=None, show_header=False)
    for verdict, part, seen, advice in rows:
        # As texts: what was seen may hold what looks like markup.
        said = Text.assemble(seen, "\n" if advice else "", (f"→ {advice}" if advice else "", "bold"))
        table.add_row(Text(verdict, _VERDICTS[verdict]), Text(part), said)
    Console(soft_wrap=True).print(table)


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with *message* on stderr."""
    typer.echo(message, err=True)
    raise typer.Exit(code)
