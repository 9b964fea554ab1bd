"""The commands that run for a long time: `clusterbus consume`, `up` and `demo`."""

import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from router import file_modes
from router.cli.app import Json, connect, current, loaded, past, topology
from router.cli.output import fail, note, say
from router.local_broker import choose

from .options import Files


def consume(
    context: typer.Context,
    files: Files = None,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be done with new events; consume and execute nothing."),
    ] = False,
    since: Annotated[
        str | None, typer.Option(help="With --dry-run: begin with events since this time: 1h ago, 18:00, monday 07:00.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Deliver events to the handlers of subscriptions, with retries and dead letters."""
    wanted = current(context)
    paths = files or [wanted.consumers.subscriptions]
    if dry_run:
        now = datetime.now(UTC)
        back = now - past("--since", since, now) if since else None
        line = connect(context, "clusterbus-dry-run", impatient=True)
        from ..inspection import live_dry_run  # noqa: PLC0415 - each program imports what it needs

        live_dry_run.dry_run(line, wanted, paths, back=back, now=now, as_json=as_json)
        return
    if since or as_json:
        fail("--since and --json work only with --dry-run", 2)
    from ..programs.consume import consume as serve  # noqa: PLC0415 - idem

    serve(connect(context, "clusterbus-consume"), wanted, paths, topology(context))


def up(
    context: typer.Context,
    files: Files = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="The folder of the private broker, spool, state and store.")
    ] = None,
) -> None:
    """Run relay, router and consumers on this machine, and a private broker if none is configured."""
    from ..programs import up as everything  # noqa: PLC0415 - idem

    given = context.find_root().params
    options = ["--log-level", given["level"], "--log-format", given["form"]]
    if given["file"]:
        options += ["--settings", str(given["file"].absolute())]
    place = folder or everything.default_folder()
    everything.run(place, files or [], loaded(context), options, dict(os.environ))


def demo(
    speed: Annotated[float, typer.Option(min=0.1, max=20, help="The speed; 2 is twice as fast.")] = 1.0,
    folder: Annotated[
        Path | None, typer.Option(help="Run in this empty folder, and keep it; by default in one that is removed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run twelve simulated nodes through a minute of failures; at the end, count events and deliveries."""
    # Imported here: no other command needs it, and each of them would start more slowly.
    from router.broker.session import Session  # noqa: PLC0415

    from ..programs.demo.demo_run import run_demo  # noqa: PLC0415
    from ..programs.demo.screen import Screen  # noqa: PLC0415

    broker = choose.find(os.environ.get("CLUSTERBUS_BROKER"))
    if isinstance(broker, choose.GivenBroker):
        with Session(broker.url, name="clusterbus-demo"):
            pass  # it answers, or this says why not, before there are files and programs
    place = folder or Path(tempfile.mkdtemp(prefix="clusterbus-demo-"))
    file_modes.make_folder(place)
    if any(place.iterdir()):
        fail(f"--folder {place} is not empty: name an empty folder, or one that does not exist", 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    settled = False
    try:
        with Screen(err=as_json) as screen:
            counts = run_demo(place, broker, screen, speed=speed)
            settled = counts.settled
        screen.show_result(counts, time.monotonic() - begun)
    finally:
        if settled and folder is None:
            shutil.rmtree(place, ignore_errors=True)
        elif not settled:
            note(f"the files of the demo are in {place}, the logs of its programs in {place / 'logs'}")
    if as_json:
        say(asdict(counts) | {"lost": counts.lost, "settled": counts.settled}, as_json=True)
    if not settled:
        raise typer.Exit(1)
