"""The commands on jobs and approvals: `clusterbus jobs list | show | wait | cancel | pending | approve | refuse`."""

import json
import re
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from router.cli.app import Json, current, who
from router.cli.output import block, fail, fields, note, rows, say
from router.model import durations

from ..errors import StoreError
from ..inspection.running_jobs import LiveOutput, states_of
from ..manual_runs import waiting_actions
from ..processes import job_runner
from ..processes.attached_runs import of_all_kinds
from ..processes.job_files import ERR, OUT, REQUEST, RESULT, STATE, Job, JobError, Jobs, find, now
from ..store import approvals as table
from ..store.database import Store
from .options import OfSubscription

jobs_app = typer.Typer(
    help="Commands that run or wait, detached ones that have ended, deliveries that wait for approval.",
    no_args_is_help=True,
)

Ids = Annotated[list[str], typer.Argument(help="Ids of deliveries, as `clusterbus jobs pending` shows them.")]
Id = Annotated[str, typer.Argument(help="The job's id, or the beginning of it.")]

_SHOWN = 4096
_POLL = 0.1
_NOT_IN_TIME = 3
_UNDER_WAY = ("starting", "running")
_STATES = ("waiting", *_UNDER_WAY, *job_runner.ENDED)


@jobs_app.command("list")
def list_jobs(
    context: typer.Context,
    *,
    state: Annotated[str | None, typer.Option(help=f"Only in this state: {', '.join(_STATES)}.")] = None,
    subscription: OfSubscription = None,
    as_json: Json = False,
) -> None:
    """Show actions that wait, for their next nodes or attempt, and the jobs of this machine, each newest first."""
    if state not in (None, *_STATES):
        fail(f"--state {state!r}: use one of {', '.join(_STATES)}", 2)
    # A run that its consumer waits for may be gone before it is read.
    known = [*_waiting(context), *(_facts(each) for each in of_all_kinds(_jobs(context)))]
    found = [
        each
        for each in known
        if each and state in (None, each["state"]) and subscription in (None, each["about"].get("subscription"))
    ]
    rows(
        found,
        {
            "id": lambda each: each["id"],
            "state": _ended,
            "asked": lambda each: _moment(datetime.fromisoformat(each["asked"])),
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
def show(
    context: typer.Context,
    job_id: Id,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print the output as it comes, until the job has ended.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one job with its output; for a running job, the output so far."""
    job = _find(context, job_id)
    if follow:
        _follow(job, as_json=as_json)
        return
    facts = _facts(job)
    if not facts:
        fail(f"job {job_id} has just ended: `clusterbus deliveries` shows its outcome", 1)
    limit = job.read(REQUEST)["output"]
    outputs = {name: job.head(name, limit).decode("utf-8", "replace") for name in (OUT, ERR)}
    if as_json:
        say(facts | outputs, as_json=True)
        return
    fields(facts.items())
    for name, text in outputs.items():
        more = f"\n... {len(text) - _SHOWN} more characters: --json shows all" if len(text) > _SHOWN else ""
        block(f"--- {name}\n{text[:_SHOWN]}{more}")


def _follow(job: Job, *, as_json: bool) -> None:
    with LiveOutput(job) as output:
        facts: dict[str, Any] = {"state": "running"}
        while facts.get("state") in _UNDER_WAY:
            # Looked at first, so that all that was printed before the end is read after it.
            facts = _facts(job)
            for each in output.read(is_last=facts.get("state") not in _UNDER_WAY):
                said = {name: value for name, value in asdict(each).items() if value not in ("", None)}
                say(said, as_json=as_json, text=str(each))
            if facts.get("state") in _UNDER_WAY:
                time.sleep(_POLL)
    # The folder of a command that its consumer waited for is removed when it has ended.
    ended = _ended(facts) if facts else "has ended: `clusterbus deliveries` shows its outcome"
    say(facts or {"id": job.id, "state": "ended"}, as_json=as_json, text=f"--- {job.id} {ended}")


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
    while (facts := _facts(job)) and facts["state"] in _UNDER_WAY:
        if deadline is not None and now() >= deadline:
            say(facts, as_json=as_json, text=f"{job.id} {facts['state']}, not finished after {limit}")
            raise typer.Exit(_NOT_IN_TIME)
        time.sleep(_POLL)
    if not facts:
        fail(f"{job.id} has ended: `clusterbus deliveries` shows its outcome", 1)
    say(facts, as_json=as_json, text=f"{job.id} {_ended(facts)}")
    if not (facts["state"] == "finished" and facts.get("exit") == 0):
        raise typer.Exit(1)


@jobs_app.command()
def cancel(context: typer.Context, job_id: Id, as_json: Json = False) -> None:
    """Stop a job and all its processes; its delivery becomes a dead letter, with your name as the reason.

    With the id of an action that waits, it never goes on: it becomes a dead letter when it would.
    """
    if re.fullmatch("[0-9a-f]{12}", job_id):
        _cancel_waiting(context, job_id, as_json=as_json)
        return
    job = _find(context, job_id)
    try:
        is_done = job_runner.cancel(job, who())
    except PermissionError as error:
        raise JobError(
            f"you may not cancel job {job.id}: run this command as the owner of {job.path.parent}"
        ) from error
    facts = _facts(job) or {"id": job.id, "state": "ended"}
    text = f"{job.id} cancelled" if is_done else f"{job.id} had already ended: {_ended(facts)}"
    say(facts | {"done": is_done}, as_json=as_json, text=text)
    if not is_done:
        raise typer.Exit(1)


def _cancel_waiting(context: typer.Context, action_id: str, *, as_json: bool) -> None:
    with Store(current(context).consumers.store) as store, store.writing() as transaction:
        try:
            action, is_new = waiting_actions.cancel(transaction, action_id, who(), datetime.now(UTC))
        except waiting_actions.UnknownAction as error:
            fail(str(error), 2)
    text = "cancelled" if is_new else f"was {action.row.reason}"
    say(
        action.as_dict() | {"done": is_new},
        as_json=as_json,
        text=f"{action_id} {text}: it becomes a dead letter when its wait ends, {_moment(action.row.again)}",
    )


def _waiting(context: typer.Context) -> list[dict[str, Any]]:
    try:
        with Store(current(context).consumers.store, upgrade=False) as store, store.reading() as transaction:
            return [each.as_dict() for each in waiting_actions.found(transaction, datetime.now(UTC))]
    except StoreError as error:
        note(f"actions that wait are not shown: {error}")
        return []


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
    jobs = _jobs(context)
    try:
        return find(of_all_kinds(jobs), job_id)
    except JobError as error:
        fail(str(error), 2)


def _facts(job: Job) -> dict[str, Any]:
    """Return what is known about *job*, without its environment and input, which may contain secrets."""
    # Read once, and first: a job that ends between two reads would be shown as both running and ended.
    state = job.state()
    request, begun, result = job.read(REQUEST), job.read(STATE), job.read(RESULT)
    if not request:
        return {}
    facts = {"id": job.id, "state": state, "about": request["about"], "asked": request["asked"]}
    facts |= {"timeout": durations.text(timedelta(seconds=request["timeout"])), "folder": str(job.path)}
    facts |= {name: begun[name] for name in ("begun", "host", "pid", "command_pid") if name in begun}
    if state == "running":
        under_way = {"progress": begun.get("progress"), "states": states_of(job)}
        facts |= {name: each for name, each in under_way.items() if each}
    return facts | {name: value for name, value in result.items() if name != "ended"}


def _ended(facts: dict[str, Any]) -> str:
    if facts["state"] == "waiting":
        return f"waiting until {_moment(facts['until'])}: {facts['reason']}"
    if facts["state"] == "finished":
        return f"exit code {facts['exit']}" if "exit" in facts else f"signal {facts.get('signal')}"
    if "states" in facts:
        return f"running: {', '.join(f'{nodes} {state}' for state, nodes in facts['states'].items())}"
    return f"cancelled by {facts['by']}" if "by" in facts else str(facts["state"])


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "?"
