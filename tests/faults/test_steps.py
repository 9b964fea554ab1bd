"""Consumers and machines that die during a three-step action: the snapshot is never left, and the outcome says so."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from consumers.processes import cleanup, lost_jobs
from consumers.processes.job_files import REQUEST, RESULT, STATE, Jobs
from consumers.verbs.run.verb import RunVerb
from tests.consuming import make_event, make_subscription, making, publish
from tests.operating import Program
from tests.waiting import wait_for

STEPS = ("snapshot", "work", "destroy")


class Site:
    """A consumer of one action; a step waits at its gate while that exists."""

    def __init__(self, make, folder: Path, jobs: Jobs, url: str) -> None:
        self.folder, self.jobs, self._url = folder, jobs, url
        self.snapshot, self._ran = folder / "snapshot", folder / "ran"
        effects = {"snapshot": f"touch {self.snapshot}", "work": ":", "destroy": f"rm -f {self.snapshot}"}
        steps = [{"name": name, "command": ["sh", "-c", self._code(name, effects[name])]} for name in STEPS]
        verb = RunVerb.model_validate({"steps": steps[:2], "always": steps[2:], "timeout": "60s"})
        self.consumer = make(make_subscription("act", verb))

    def _code(self, name, effect):
        gate = self.folder / f"gate-{name}"
        return f"echo {name} >> {self._ran}; {effect}; while [ -e {gate} ]; do touch {gate}.reached; sleep 0.02; done"

    def begin(self, step: str) -> None:
        """Start the consumer and an action that stays in *step*."""
        (self.folder / f"gate-{step}").touch()
        self.consumer.start().wait_ready()
        publish(self._url, [make_event()])
        wait_for((self.folder / f"gate-{step}.reached").exists, 60, f"step {step}")

    def open(self) -> None:
        for each in STEPS:
            (self.folder / f"gate-{each}").unlink(missing_ok=True)

    def lose_machine(self) -> None:
        """End all processes at once, as a power loss does."""
        self.consumer.kill()
        for job in self.jobs.all():
            with suppress(ProcessLookupError):
                os.kill(job.read(STATE)["pid"], signal.SIGKILL)
            cleanup.end(job.read(REQUEST)["mark"])

    @property
    def calls(self) -> list[str]:
        return self._ran.read_text().split()


@pytest.fixture
def site(vhost_url, tmp_path, jobs):
    """The site."""
    with making(vhost_url, tmp_path) as make:
        yield Site(make, tmp_path, jobs, vhost_url)


def states(row):
    return {each["name"]: each["state"] for part in ("steps", "always") for each in row.result[part]}


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_consumer_changes_nothing(site, step):
    site.begin(step)
    site.consumer.kill()

    site.consumer.start().wait_ready()
    site.open()
    (row,) = site.consumer.wait_outcomes(1, outcome="done", timeout=60)

    assert site.calls == [*STEPS]
    assert states(row) == dict.fromkeys(STEPS, "done")
    assert not site.snapshot.exists()


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_after_a_power_loss_the_consumer_cleans_up_and_the_retry_does_all(site, step):
    site.begin(step)
    site.lose_machine()
    begun = len(site.calls)
    site.open()

    site.consumer.start().wait_ready()
    (done,) = site.consumer.wait_outcomes(1, outcome="done", timeout=90)

    again = [] if step == "destroy" else [*STEPS]
    assert site.calls[begun:] == ["destroy", *again]
    assert not site.snapshot.exists()
    assert states(done) == dict.fromkeys(STEPS, "done")
    if again:
        (lost,) = [row for row in site.consumer.attempts() if row.outcome == "retry"]
        assert lost.attempt == 1
        assert states(lost)[step] == "lost"
        assert lost.reason == f"step {step}: its process was killed, so its end is not known"


def test_after_a_power_loss_the_clean_up_needs_no_delivery(site):
    site.begin("work")
    site.lose_machine()
    site.open()

    with lost_jobs.adopting(site.jobs, lambda _: ""):
        (job,) = site.jobs.all()
        wait_for(lambda: job.read(RESULT), 60, "the clean-up")

    assert site.calls == ["snapshot", "work", "destroy"]
    assert not site.snapshot.exists()


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_process_of_the_steps_is_replaced_while_the_consumer_runs(site, step):
    site.begin(step)
    begun = len(site.calls)
    os.kill(site.jobs.all()[0].read(STATE)["pid"], signal.SIGKILL)
    site.open()

    site.consumer.wait_outcomes(1, outcome="done", timeout=90)

    assert site.calls[begun:] == ["destroy", *([] if step == "destroy" else STEPS)]
    assert not site.snapshot.exists()


@pytest.mark.long
def test_processes_that_are_killed_again_and_again_are_replaced_until_the_clean_up_is_done(site):
    site.begin("work")
    (site.folder / "gate-destroy").touch()
    (job,) = site.jobs.all()
    killed: set[int] = set()
    for _ in range(4):
        pid = wait_for(lambda: {job.read(STATE)["pid"]} - killed, 60, "another process").pop()
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    site.open()

    site.consumer.wait_outcomes(1, outcome="done", timeout=90)

    assert not site.snapshot.exists()
    assert site.calls[-3:] == [*STEPS]


@pytest.mark.long
def test_consume_cleans_up_at_its_start_though_the_subscription_is_gone(site, vhost_url, tmp_path):
    site.begin("work")
    site.lose_machine()
    site.open()
    folder = tmp_path / "later"
    folder.mkdir()
    text = "version: 1\nsubscriptions:\n  - {name: other, on: diskFailure, run: {command: ['true']}}\n"

    with Program(vhost_url, folder, text, CLUSTERBUS_CONSUMERS_JOBS=str(site.jobs.path)) as program:
        program.start("other")
        (job,) = site.jobs.all()
        wait_for(lambda: job.read(RESULT), 60, "the clean-up")

    assert site.calls == ["snapshot", "work", "destroy"]
    assert not site.snapshot.exists()
    assert job.read(RESULT)["ended"] == "lost"
