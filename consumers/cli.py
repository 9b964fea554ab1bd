"""Where `clusterbus` starts: the router's commands, and those that concern subscriptions and deliveries."""

import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from router import cli as _router_commands  # noqa: F401 - defines the commands it has
from router import durations
from router.broker.private import finding
from router.catalogue import Catalogues
from router.command import Json, app, connect, current, fail, open_session, say, show_verdicts, topology
from router.errors import RouterError, SettingsError, Unreachable
from router.fact_finding import facts_app
from router.sources.gpfs.errors import CommandMissing

from . import approving, dry
from . import check as checking
from . import consume as consuming
from . import doctor as looking
from . import ledger as _deliveries  # noqa: F401 - defines `deliveries`
from . import route as _route  # noqa: F401 - defines `route`
from . import schemas as _schemas  # noqa: F401 - defines `schema`
from . import up as everything
from . import why as _why  # noqa: F401 - defines `why`
from .breaking import breakers_app
from .dead import dead_app
from .errors import ConsumerError, SubscriptionsError
from .jobs.commands import jobs_app
from .queues import subscriptions_app
from .silencing import silences_app

app.add_typer(dead_app, name="dead")
app.add_typer(subscriptions_app, name="subscriptions")
app.add_typer(jobs_app, name="jobs")
app.add_typer(silences_app, name="silences")
app.add_typer(breakers_app, name="breakers")
app.add_typer(facts_app, name="facts")
for command in (approving.pending, approving.approve, approving.refuse):
    jobs_app.command()(command)

Files = Annotated[
    list[Path] | None, typer.Argument(help="Subscription files or folders; by default those of the settings.")
]


@app.command()
def consume(
    context: typer.Context,
    files: Files = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done with events as they come; take and do nothing.")
    ] = False,
    since: Annotated[str | None, typer.Option(help="With --dry-run: how far back to begin, such as 1h.")] = None,
    as_json: Json = False,
) -> None:
    """Serve subscriptions: bring events to their handlers, with retries and dead letters."""
    wanted = current(context)
    paths = files or [wanted.consumers.subscriptions]
    if dry_run:
        back = durations.parse(since) if since else None
        line = connect(context, "clusterbus-dry-run", impatient=True)
        dry.dry_run(line, wanted, paths, back=back, now=datetime.now(UTC), as_json=as_json)
        return
    if since or as_json:
        fail("--since and --json are for --dry-run", 2)
    consuming.consume(connect(context, "clusterbus-consume"), wanted, paths, topology(context))


@app.command()
def check(context: typer.Context, files: Files = None, as_json: Json = False) -> None:
    """Validate settings and subscriptions; every mistake is named, in one run."""
    wanted = current(context)
    report = checking.check(files or [wanted.consumers.subscriptions], Catalogues.shipped(), wanted, tries=True)
    for kind, found in (("mistake", report.mistakes), ("warning", report.warnings)):
        for each in found:
            say({"kind": kind, **asdict(each)}, as_json=as_json, text=f"{kind}: {each}")
    if report.subscriptions is None:
        raise typer.Exit(1)
    count = len(report.subscriptions.subscriptions)
    say({"kind": "good", "subscriptions": count}, as_json=as_json, text=f"{count} subscriptions, good")


@app.command()
def doctor(
    context: typer.Context,
    files: Files = None,
    part: Annotated[list[str] | None, typer.Option(help=f"Only one of {', '.join(sorted(looking.PARTS))}.")] = None,
    as_json: Json = False,
) -> None:
    """Look at spool, relay, broker, router and subscriptions: what is wrong, and what to do."""
    if strange := set(part or ()) - looking.PARTS:
        fail(f"--part {min(strange)}: there are {', '.join(sorted(looking.PARTS))}", 2)
    session = partial(open_session, context, "clusterbus-doctor")
    found = list(looking.examine(current(context), files, session, part or looking.PARTS))
    for each in found if as_json else ():
        say(asdict(each), as_json=True)
    if not as_json:
        show_verdicts((each.verdict, each.part, each.seen, each.advice) for each in found)
    if any(each.part == "broker" and each.unreachable for each in found):
        raise typer.Exit(3)
    if any(each.verdict == "wrong" for each in found):
        raise typer.Exit(1)


@app.command()
def up(
    files: Files = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where a private broker, spool, state and store live.")
    ] = None,
) -> None:
    """Run everything on this machine, in one: broker (private if none is set), relay, router, consumers."""
    everything.run(folder or everything.default_folder(), files or [], dict(os.environ))


@app.command()
def demo(
    speed: Annotated[float, typer.Option(min=0.1, max=20, help="2 is twice as fast.")] = 1.0,
    folder: Annotated[
        Path | None, typer.Option(help="Play in this empty folder, and keep it; else in one that goes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Twelve simulated nodes live through a bad minute; ends with the count."""
    # Only here, since no other command needs it, and each start of a program would pay for it.
    from .demo.play import play  # noqa: PLC0415
    from .demo.screen import Screen  # noqa: PLC0415

    console = Console(stderr=as_json, highlight=False)
    broker = finding.find(os.environ.get("CLUSTERBUS_BROKER"))
    place = folder or Path(tempfile.mkdtemp(prefix="clusterbus-demo-"))
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        fail(f"{place} is not empty", 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    settled = False
    try:
        with Screen(console) as screen:
            books = play(place, broker, screen, speed=speed)
            settled = books.settled
        Screen(console).close_books(books, time.monotonic() - begun)
    finally:
        if settled and folder is None:
            shutil.rmtree(place, ignore_errors=True)
        elif not settled:
            console.print(f"what was written is in {place}, the programs' logs in {place / 'logs'}")
    if as_json:
        say(asdict(books) | {"lost": books.lost, "settled": books.settled}, as_json=True)
    if not settled:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; errors that we raise on purpose end it with their message and code."""
    try:
        app()
    except (SettingsError, SubscriptionsError) as error:
        _end(error, 2)
    except (Unreachable, CommandMissing) as error:
        _end(error, 3)
    except (RouterError, ConsumerError, ValueError) as error:
        _end(error, 1)


def _end(error: Exception, code: int) -> Any:  # noqa: ANN401 - never returns
    typer.echo(f"clusterbus: {error}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
