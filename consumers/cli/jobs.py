"""The commands on jobs and approvals: `clusterbus jobs list | show | wait | cancel | pending | approve | refuse`."""

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from router.cli.app import Json, current
from router.cli.output import block, fail, fields, rows, say
from router.model import durations

from ..processes import job_runner
from ..processes.job_files import ERR, OUT, REQUEST, RESULT, STATE, Job, JobError, Jobs, now
from ..store import approvals as table
from ..store.database import Store
from .options import OfSubscription, who

jobs_app = typer.Typer(help="Detached commands, and deliveries that wait for approval.", no_args_is_help=True)

Ids = Annotated[list[str], typer.Argument(help="Ids of deliveries, as `clusterbus jobs pending` shows them.")]
Id = Annotated[str, typer.Argument(help="The job's id, or the beginning of it.")]

_SHOWN = 4096
_POLL = 0.1
_NOT_IN_TIME = 3


@jobs_app.command("list")
def list_jobs(
    context: typer.Context,
    *,
    state: Annotated[
        str | None, typer.Option(help=f"Only in this state: starting, running, {', '.join(job_runner.ENDED)}.")
    ] = None,
    subscription: OfSubscription = None,
    as_json: Json = False,
) -> None:
    """Show jobs, newest first."""
    if state not in (None, "starting", "running", *job_runner.ENDED):
        fail(f"--state {state!r}: use one of starting, running, {', '.join(job_runner.ENDED)}", 2)
    found = [_facts(each) for each in _jobs(context).all()]
    found = [
        each
        for each in found
        if state in (None, each["state"]) and subscription in (None, each["about"].get("subscription"))
    ]
    rows(
        found,
        {
            "id": lambda each: each["id"],
            "state": _ended,
            "asked": lambda each: f"{datetime.fromisoformat(each['asked']):%Y-%m-%d %H:%M:%S}",
            "ran": lambda each: f"{each['seconds']:.1f}s" if "seconds" in each else "",
            "event": lambda each: each["about"].get("type"),
            "nodes": lambda each: each["about"].get("nodes"),
            "command": lambda each: " ".join(each["about"].get("command", [])),
        },
        as_json=as_json,
        facts=lambda each: each,
        empty="no jobs",
        cut=True,
    )


@jobs_app.command()
def show(context: typer.Context, job_id: Id, as_json: Json = False) -> None:
    """Show one job with its output; for a running job, the output so far."""
    job = _find(context, job_id)
    facts = _facts(job)
    limit = job.read(REQUEST)["output"]
    outputs = {name: job.head(name, limit).decode("utf-8", "replace") for name in (OUT, ERR)}
    if as_json:
        say(facts | outputs, as_json=True)
        return
    fields(facts.items())
    for name, text in outputs.items():
        more = f"\n... {len(text) - _SHOWN} more characters: --json shows all" if len(text) > _SHOWN else ""
        block(f"--- {name}\n{text[:_SHOWN]}{more}")


@jobs_app.command()
def wait(
    context: typer.Context,
    job_id: Id,
    limit: Annotated[
        str | None, typer.Option(help="Stop waiting after this time, such as 10m; by default, never.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Wait until a job ends: exit code 0 if it succeeded, 1 if it failed, 3 if it did not end in time."""
    job = _find(context, job_id)
    deadline = None if limit is None else now() + durations.parse(limit)
    while (facts := _facts(job))["state"] in ("starting", "running"):
        if deadline is not None and now() >= deadline:
            say(facts, as_json=as_json, text=f"{job.id} {facts['state']}, not finished after {limit}")
            raise typer.Exit(_NOT_IN_TIME)
        time.sleep(_POLL)
    say(facts, as_json=as_json, text=f"{job.id} {_ended(facts)}")
    if not (facts["state"] == "finished" and facts.get("exit") == 0):
        raise typer.Exit(1)


@jobs_app.command()
def cancel(context: typer.Context, job_id: Id, as_json: Json = False) -> None:
    """Stop a job and all its processes; its delivery becomes a dead letter, with your name as the reason."""
    job = _find(context, job_id)
    try:
        is_done = job_runner.cancel(job, who())
    except PermissionError as error:
        raise JobError(
            f"you may not cancel job {job.id}: run this command as the owner of {job.path.parent}"
        ) from error
    facts = _facts(job)
    text = f"{job.id} cancelled" if is_done else f"{job.id} had already ended: {_ended(facts)}"
    say(facts | {"done": is_done}, as_json=as_json, text=text)
    if not is_done:
        raise typer.Exit(1)


@jobs_app.command()
def pending(context: typer.Context, as_json: Json = False) -> None:
    """Show the deliveries that wait for approval, and what each would do."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        found = table.pending(transaction, datetime.now(UTC))
    rows(
        found,
        {
            "id": lambda each: each.id,
            "asked": lambda each: f"{each.asked.astimezone():%m-%d %H:%M:%S}",
            "until": lambda each: f"{each.until.astimezone():%m-%d %H:%M:%S}",
            "subscription": lambda each: each.subscription,
            "event": lambda each: each.event,
            # Never shortened: people must see all that they approve.
            "would do": lambda each: each.plan,
        },
        as_json=as_json,
        facts=lambda each: asdict(each) | {"plan": json.loads(each.plan)},
        empty="nothing waits for approval",
    )


@jobs_app.command()
def approve(context: typer.Context, ids: Ids, as_json: Json = False) -> None:
    """Approve deliveries; they start within 15 seconds."""
    _answer(context, ids, "approved", as_json=as_json)


@jobs_app.command()
def refuse(context: typer.Context, ids: Ids, as_json: Json = False) -> None:
    """Refuse deliveries; they are skipped."""
    _answer(context, ids, "refused", as_json=as_json)


def _answer(context: typer.Context, ids: list[str], state: table.State, *, as_json: bool) -> None:
    with Store(current(context).consumers.store) as store, store.writing() as transaction:
        answered = {each: table.answer(transaction, each, state, who(), datetime.now(UTC)) for each in ids}
    for each, is_good in answered.items():
        word = state if is_good else "unknown, already answered, or expired"
        say({"id": each, "done": word}, as_json=as_json, text=f"{each}: {word}")
    if not all(answered.values()):
        fail("not all could be answered: `clusterbus jobs pending` shows the deliveries that wait for approval")


def _jobs(context: typer.Context) -> Jobs:
    return Jobs(current(context).consumers.jobs)


def _find(context: typer.Context, job_id: str) -> Job:
    try:
        return _jobs(context).find(job_id)
    except JobError as error:
        fail(str(error), 2)


def _facts(job: Job) -> dict[str, Any]:
    """Return what is known about *job*, without its environment and input, which may contain secrets."""
    # Read once, and first: a job that ends between two reads would be shown as both running and ended.
    state = job.state()
    request, begun, result = job.read(REQUEST), job.read(STATE), job.read(RESULT)
    facts = {"id": job.id, "state": state, "about": request["about"], "asked": request["asked"]}
    facts |= {"timeout": durations.text(timedelta(seconds=request["timeout"])), "folder": str(job.path)}
    facts |= {name: begun[name] for name in ("begun", "host", "pid", "command_pid") if name in begun}
    return facts | {name: value for name, value in result.items() if name != "ended"}


def _ended(facts: dict[str, Any]) -> str:
    if facts["state"] == "finished":
        return f"exit code {facts['exit']}" if "exit" in facts else f"signal {facts.get('signal')}"
    return f"cancelled by {facts['by']}" if "by" in facts else str(facts["state"])
