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
from typing import TYPE_CHECKING, Annotated

import typer

from router import file_modes
from router.cli.app import Json, connect, current, loaded, log_level, past, topology
from router.cli.output import fail, note, say
from router.local_broker import choose
from router.model import durations
from router.model.records import written

from .options import Files, subscription_names

if TYPE_CHECKING:
    from ..programs.draining import Draining

_NOT_IN_TIME = 3


def consume(  # noqa: PLR0913 - each is an option
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
    only: Annotated[
        list[str] | None,
        typer.Option(help="Serve only this subscription; may be repeated.", autocompletion=subscription_names),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when the queues are empty.")] = False,
    drain: Annotated[
        bool, typer.Option("--drain", help="End when nothing waits any more, neither for a retry nor for its turn.")
    ] = False,
    within: Annotated[
        str | None, typer.Option(help="With --once or --drain: end after this time in any case, with exit code 3.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Deliver events to the handlers of subscriptions, with retries and dead letters."""
    paths = files or [current(context).consumers.subscriptions]
    draining = _draining(once=once, drain=drain, within=within)
    if dry_run and (only or draining):
        fail("--only, --once and --drain do not work with --dry-run", 2)
    if dry_run:
        _dry_run(context, paths, since, as_json=as_json)
        return
    if since or as_json:
        fail("--since and --json work only with --dry-run", 2)
    _serve(context, paths, only or [], draining)


def _serve(context: typer.Context, paths: list[Path], only: list[str], draining: "Draining | None") -> None:
    from ..programs.consume import consume as serve  # noqa: PLC0415 - each program imports what it needs

    line = connect(context, "clusterbus-consume", section="consumers", impatient=draining is not None)
    ended = serve(line, current(context), paths, topology(context), only=only, draining=draining)
    if ended and ended.is_late:
        fail("not finished in time: the rest stays in the queues", _NOT_IN_TIME)
    if ended and ended.problem:
        fail(ended.problem)


def _dry_run(context: typer.Context, paths: list[Path], since: str | None, *, as_json: bool) -> None:
    now = datetime.now(UTC)
    back = now - past("--since", since, now) if since else None
    line = connect(context, "clusterbus-dry-run", impatient=True)
    from ..inspection import live_dry_run  # noqa: PLC0415 - idem

    live_dry_run.dry_run(line, current(context), paths, back=back, now=now, as_json=as_json)


def _draining(*, once: bool, drain: bool, within: str | None) -> "Draining | None":
    """Return when to end, None if only a signal does that; ends the command if the options make no sense."""
    if once and drain:
        fail("--once and --drain exclude one another", 2)
    if within and not (once or drain):
        fail("--within works only with --once and --drain", 2)
    if not (once or drain):
        return None
    from ..programs.draining import Draining  # noqa: PLC0415 - it imports what delivers

    try:
        return Draining(retries=drain, within=durations.parse(within) if within else None)
    except ValueError as error:
        fail(f"--within: {error}", 2)


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
    options = ["--log-level", log_level(given["level"], "up"), "--log-format", given["form"]]
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
            counts, alerts = run_demo(place, broker, screen, speed=speed)
            settled = counts.settled
        screen.show_result(counts, alerts, time.monotonic() - begun)
    finally:
        if settled and folder is None:
            shutil.rmtree(place, ignore_errors=True)
        elif not settled:
            note(f"the files of the demo are in {place}, the logs of its programs in {place / 'logs'}")
    if as_json:
        facts = [asdict(each) | {"since": written(each.since)} for each in alerts]
        say(asdict(counts) | {"lost": counts.lost, "settled": counts.settled, "alerts": facts}, as_json=True)
    if not settled:
        raise typer.Exit(1)
