"""The commands on jobs: `clusterbus jobs list | show | wait | cancel`."""

import getpass
import json
import os
import time
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from router import durations
from router.command import Json, current, fail, say

from . import runner
from .folders import ERR, OUT, REQUEST, RESULT, STATE, Job, JobError, Jobs, now

jobs_app = typer.Typer(help="Work the jobs: commands that run detached from their consumer.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The job's id, or how it begins.")]

_SHOWN = 4096
_POLL = 0.1
_NOT_IN_TIME = 3


@jobs_app.command("list")
def list_jobs(
    context: typer.Context,
    *,
    state: Annotated[
        str | None, typer.Option(help=f"Only these: starting, running, {', '.join(runner.ENDED)}.")
    ] = None,
    subscription: Annotated[str | None, typer.Option(help="Only this subscription's.")] = None,
    as_json: Json = False,
) -> None:
    """Show jobs, newest first."""
    if state not in (None, "starting", "running", *runner.ENDED):
        fail(f"--state {state!r}: there are starting, running, {', '.join(runner.ENDED)}", 2)
    found = [_facts(each) for each in _jobs(context).all()]
    found = [
        each
        for each in found
        if state in (None, each["state"]) and subscription in (None, each["about"].get("subscription"))
    ]
    if as_json:
        for each in found:
            say(each, as_json=True)
        return
    table = Table(box=None, header_style="bold")
    for column in ("id", "state", "asked", "ran", "event", "nodes", "command"):
        table.add_column(column, overflow="fold")
    for each in found:
        about = each["about"]
        asked = f"{datetime.fromisoformat(each['asked']):%Y-%m-%d %H:%M:%S}"
        words = " ".join(about.get("command", []))[:80]
        seconds = f"{each['seconds']:.1f}s" if "seconds" in each else ""
        row = (each["id"], _ended(each), asked, seconds, about.get("type", ""), about.get("nodes", ""), words)
        table.add_row(*(escape(str(cell)) for cell in row))
    Console().print(table if found else "no jobs")


@jobs_app.command()
def show(context: typer.Context, job_id: Id, as_json: Json = False) -> None:  # noqa: FBT002 - typer makes options of arguments
    """Show one job whole, with what its command said; of one that runs, so far."""
    job = _find(context, job_id)
    facts = _facts(job)
    limit = job.read(REQUEST)["output"]
    said = {name: job.head(name, limit).decode("utf-8", "replace") for name in (OUT, ERR)}
    if as_json:
        say(facts | said, as_json=True)
        return
    for name, value in facts.items():
        typer.echo(f"{name:14}{json.dumps(value) if isinstance(value, dict) else value}")
    for name, text in said.items():
        more = f"\n... {len(text) - _SHOWN} more characters, with --json" if len(text) > _SHOWN else ""
        typer.echo(f"--- {name}\n{_plain(text[:_SHOWN])}{more}")


@jobs_app.command()
def wait(
    context: typer.Context,
    job_id: Id,
    limit: Annotated[
        str | None, typer.Option(help="How long at the most, such as 10m; by default as long as it takes.")
    ] = None,
    as_json: Json = False,  # noqa: FBT002 - typer makes options of arguments
) -> None:
    """Wait for the end of a job: 0 where it ended well, 1 where it failed, 3 where it did not end in time."""
    job = _find(context, job_id)
    deadline = None if limit is None else now() + durations.parse(limit)
    while (facts := _facts(job))["state"] in ("starting", "running"):
        if deadline is not None and now() >= deadline:
            say(facts, as_json=as_json, text=f"{job.id} {facts['state']}, not through after {limit}")
            raise typer.Exit(_NOT_IN_TIME)
        time.sleep(_POLL)
    say(facts, as_json=as_json, text=f"{job.id} {_ended(facts)}")
    if not (facts["state"] == "through" and facts.get("exit") == 0):
        raise typer.Exit(1)


@jobs_app.command()
def cancel(context: typer.Context, job_id: Id, as_json: Json = False) -> None:  # noqa: FBT002 - typer makes options of arguments
    """End a job with all that it started; its delivery is given up, with your name."""
    job = _find(context, job_id)
    try:
        is_done = runner.cancel(job, _who())
    except PermissionError as error:
        raise JobError(f"job {job.id} is not yours to cancel: run this as the owner of {job.path.parent}") from error
    facts = _facts(job)
    text = f"{job.id} cancelled" if is_done else f"{job.id} had ended: {_ended(facts)}"
    say(facts | {"done": is_done}, as_json=as_json, text=text)
    if not is_done:
        raise typer.Exit(1)


def _jobs(context: typer.Context) -> Jobs:
    return Jobs(current(context).consumers.jobs)


def _find(context: typer.Context, job_id: str) -> Job:
    try:
        return _jobs(context).find(job_id)
    except JobError as error:
        fail(str(error), 2)


def _facts(job: Job) -> dict[str, Any]:
    """Return what there is to say of *job*, less what could be a secret: its environment and its input."""
    # Once, and first: what ends between two looks would be told as running and ended.
    state = job.state()
    request, begun, result = job.read(REQUEST), job.read(STATE), job.read(RESULT)
    facts = {"id": job.id, "state": state, "about": request["about"], "asked": request["asked"]}
    facts |= {"timeout": durations.text(timedelta(seconds=request["timeout"])), "folder": str(job.path)}
    facts |= {name: begun[name] for name in ("begun", "host", "pid", "command_pid") if name in begun}
    return facts | {name: value for name, value in result.items() if name != "ended"}


def _ended(facts: dict[str, Any]) -> str:
    if facts["state"] == "through":
        return f"exit code {facts['exit']}" if "exit" in facts else f"signal {facts.get('signal')}"
    return f"cancelled by {facts['by']}" if "by" in facts else str(facts["state"])


def _plain(text: str) -> str:
    """Return *text* less what would steer a terminal."""
    return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text)


def _who() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    # Who became root to do it is who did it.
    return os.environ.get("SUDO_USER") or name
