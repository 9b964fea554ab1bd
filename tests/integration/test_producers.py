"""Services that publish: events of a source of their own, through a real broker and router, and nothing else."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from clusterbus import events
from router.broker.service_topology import service_queue
from router.broker.topology import EVENTS, INGRESS
from router.errors import Refused
from router.model import records
from router.model.catalogue import Catalogues
from router.model.ids import new_id
from router.services import producer
from router.services.service_files import read
from tests.flow import CLUSTERBUS
from tests.rabbit import RabbitAdmin
from tests.routing import Site
from tests.service_site import ServiceSite
from tests.waiting import wait_for

EXAMPLE = Path(__file__).parents[2] / "examples/services/slurm-job-events"
PAGE = (Path(__file__).parents[2] / "router/services/producers.md").read_text()
(CATALOGUE,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
JOBS = {"name": "jobs", "publishes": "slurm"}


@pytest.fixture
def site(service_site: ServiceSite, tmp_path: Path, rabbit_admin: RabbitAdmin) -> Iterator[Site]:
    """A router that knows the source slurm, at the broker where the service `jobs` may publish it."""
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    told = json.loads(service_site.settings.read_text())
    service_site.settings.write_text(json.dumps({**told, "router": {"catalogue": str(tmp_path / "catalogue.yaml")}}))
    service_site.define(JOBS, {"name": "tickets", "on": "jobFailed"})
    service_site.run("apply")
    environment = {"CLUSTERBUS_ROUTER_CATALOGUE": str(tmp_path / "catalogue.yaml")}
    with Site(tmp_path, service_site.url, rabbit_admin, environment=environment) as started:
        yield started


def emit(service: ServiceSite, *words: str, name: str = "jobs", code: int = 0) -> str:
    """Run `clusterbus emit` on a host that knows the service's URL, its password file and the catalogue only."""
    parts = service.url_of(name).replace(f":{service.password(name)}@", "@")
    environment = {
        **{each: value for each, value in os.environ.items() if not each.startswith("CLUSTERBUS_")},
        "CLUSTERBUS_BROKER": parts,
        "CLUSTERBUS_BROKER_PASSWORD_FILE": str(service.folder / "secrets" / service.user(name) / "password"),
        "CLUSTERBUS_ROUTER_CATALOGUE": str(service.folder / "catalogue.yaml"),
    }
    ended = subprocess.run(
        [CLUSTERBUS, "emit", *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    return ended.stdout + ended.stderr


def test_a_shell_emits_an_event_of_its_own_source_that_others_get(service_site: ServiceSite, site: Site):
    said = emit(
        service_site, "slurm.jobFailed", "jobId=42", "jobNodes=n1,n2", "jobUser=--owner", "--cluster", "prod", "--json"
    )
    id_ = json.loads(said.splitlines()[0])["id"]
    repeated = emit(
        service_site,
        "slurm.jobFailed",
        "jobId=7",
        "--id",
        id_[:-1] + ("0" if id_[-1] != "0" else "1"),
        "--cluster",
        "prod",
    )
    again = emit(service_site, "slurm.jobFailed", "jobId=7", "--id", repeated.split()[0], "--cluster", "prod")

    first, second = site.wait_for_events(2, "slurm")[:2]
    user = service_site.user("jobs")
    assert again.split()[0] == repeated.split()[0]
    assert (first.id, first.type, first.source, first.node) == (id_, "slurm.jobFailed", f"/slurm/prod/{user}", user)
    assert (first.category, first.severity, first.subject) == ("job", "error", "42")
    assert first.data["jobId"] == 42
    assert first.data["jobNodes"] == ["n1", "n2"]
    assert first.data["jobUser"] == " --owner", "no value becomes another variable"
    assert second.id == repeated.split()[0]
    wait_for(lambda: service_site.tap.count(service_queue("tickets")) >= 2, 30, "the other service has both")
    with service_site.channel("tickets") as channel:
        got = [channel.basic_get(service_queue("tickets"))[1].message_id for _ in range(2)]
    assert got == [first.id, second.id]


def test_the_commands_of_the_page_work(service_site: ServiceSite, site: Site):
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    service_site.define({"name": "tickets", "on": "jobFailed"})
    for each in lines:
        words = shlex.split(each)
        if words[1] == "services":
            service_site.text(*words[2:])
        elif words[1] == "emit":
            emit(service_site, *words[2:])

    (event,) = site.wait_for_events(1, "slurm")
    assert (event.subject, event.data["jobNodes"], event.cluster) == ("4711", ["n1", "n2"], "prod")


def test_the_python_of_the_page_works(service_site: ServiceSite, site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLUSTERBUS_URL", service_site.url_of("jobs").replace(f":{service_site.password('jobs')}@", "@"))
    password = service_site.folder / "secrets" / service_site.user("jobs") / "password"
    monkeypatch.setenv("CLUSTERBUS_PASSWORD_FILE", str(password))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    exec(code, {})
    with pytest.raises(Refused):
        events.emit("gpfs.mount", fsName="gpfs1")
    id_ = new_id()
    for _ in range(2):
        assert events.emit("slurm.jobFailed", {"jobId": 7}, id=id_, cluster="prod") == id_

    found = {each.id: each.subject for each in site.wait_for_events(4, "slurm")}
    assert sorted(found.values()) == ["4711", "4712", "4713", "7"]
    assert found[id_] == "7"


def test_the_example_of_slurm_publishes_a_job_that_failed(service_site: ServiceSite, site: Site, tmp_path: Path):
    assert (EXAMPLE / "catalogue.yaml").read_text() == CATALOGUE
    assert read(EXAMPLE / "services", Catalogues.shipped()).valid()["jobs"].service.publishes == "slurm"
    url = service_site.url_of("jobs").replace(f":{service_site.password('jobs')}@", "@")
    password = service_site.folder / "secrets" / service_site.user("jobs") / "password"
    (tmp_path / "login").write_text(f"CLUSTERBUS_BROKER={url}\nCLUSTERBUS_BROKER_PASSWORD_FILE={password}\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/scontrol").write_text("#!/bin/sh\nprintf 'n1\\nn2\\n'\n")
    (tmp_path / "bin/scontrol").chmod(0o755)
    job = {
        "PATH": f"{tmp_path}/bin:{Path(CLUSTERBUS).parent}:{os.environ['PATH']}",
        "CLUSTERBUS_ENVIRONMENT": str(tmp_path / "login"),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_USER": "anna",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_CLUSTER_NAME": "prod",
    }

    for code in ("0:0", "1:0"):
        environment = {**job, "SLURM_JOB_EXIT_CODE2": code}
        subprocess.run([EXAMPLE / "job-failed"], env=environment, check=True, timeout=60)

    (event,) = site.wait_for_events(1, "slurm")
    assert (event.subject, event.cluster, event.severity) == ("4711", "prod", "error")
    assert event.data == {"jobId": 4711, "jobUser": "anna", "jobNodes": ["n1", "n2"]}


@pytest.mark.long
def test_what_the_broker_or_router_will_not_have_is_said_by_the_exit_code(service_site: ServiceSite, site: Site):
    assert "no event type" in emit(service_site, "slurm.jobFaild", code=2)
    assert "is not the id of an event" in emit(service_site, "slurm.jobFailed", "--id", "x", code=1)
    emit(service_site, "gpfs.mount", code=1)
    emit(service_site, "slurm.jobFailed", "--node", "nsd01", code=1)
    # One that does not publish.
    emit(service_site, "slurm.jobFailed", name="tickets", code=1)
    service_site.run("pause", "jobs", "--apply")
    emit(service_site, "slurm.jobFailed", code=1)
    assert site.events("slurm") == []


@pytest.mark.parametrize("change", ["source", "own events", "node", "user", "cluster", "exchange"])
def test_a_service_that_lies_is_refused_by_the_broker(service_site: ServiceSite, site: Site, change: str):
    service_site.define({**JOBS, "clusters": ["prod"]}, {"name": "tickets", "on": "jobFailed"})
    service_site.run("apply")
    user = service_site.user("jobs")
    given = {"source": "slurm", "cluster": "prod", "node": user}
    given |= {"source": {"source": "gpfs"}, "own events": {"source": "clusterbus"}}.get(change, {})
    given |= {"node": {"node": "nsd01"}, "cluster": {"cluster": "test"}}.get(change, {})
    found = producer.record(given["source"], "jobFailed", {}, cluster=given["cluster"], node=given["node"])
    message = producer.message(found)
    properties = pika.BasicProperties(user_id="guest" if change == "user" else user)

    exchange = EVENTS if change == "exchange" else INGRESS
    with service_site.channel("jobs") as channel:
        channel.confirm_delivery()
        with pytest.raises(ChannelClosedByBroker) as caught:
            channel.basic_publish(exchange, message.key, message.body, properties)

    assert caught.value.reply_code in (403, 406)
    assert site.events("gpfs") == site.events("slurm") == []


def test_a_body_that_names_another_is_rejected_by_the_router(service_site: ServiceSite, site: Site):
    user = service_site.user("jobs")
    true = producer.record("slurm", "jobFailed", {}, cluster="prod", node=user)
    with service_site.channel("jobs") as channel:
        for lie in ({"source": "gpfs"}, {"node": "nsd01"}, {"event": "mount"}):
            body = json.dumps({**json.loads(records.encode(true)), **lie}).encode()
            channel.basic_publish(INGRESS, producer.message(true).key, body, pika.BasicProperties(user_id=user))

    reasons = {each.properties.headers["reason"].partition(",")[0] for each in site.wait_for_rejected(3)}
    assert reasons == {f"the body says {each}" for each in ("source 'gpfs'", "node 'nsd01'", "event 'mount'")}
    assert site.events("slurm") == []


def test_a_second_key_is_refused_by_the_broker_or_rejected_by_the_router(service_site: ServiceSite, site: Site):
    user = service_site.user("jobs")
    true = producer.record("slurm", "jobFailed", {}, cluster="prod", node=user)
    properties = pika.BasicProperties(user_id=user, headers={"CC": [f"gpfs.prod.mount.{user}"]})

    with service_site.channel("jobs") as channel:
        channel.confirm_delivery()
        try:
            channel.basic_publish(INGRESS, producer.message(true).key, records.encode(true), properties)
        except ChannelClosedByBroker as error:
            refused = error.reply_code  # RabbitMQ 4 checks all keys
        else:
            refused = None
            (kept,) = {each.properties.headers["reason"] for each in site.wait_for_rejected(1)}
            assert kept == "a CC or BCC header: a record has one key"

    assert refused in (403, None)
    assert site.events("gpfs") == site.events("slurm") == []


@pytest.mark.long
def test_a_service_that_floods_delays_itself_and_no_node(service_site: ServiceSite, site: Site):
    user, node = service_site.user("jobs"), site.node("honest")

    def jobs(count: int) -> None:
        with service_site.channel("jobs") as channel:
            channel.tx_select()
            for _ in range(count):
                each = producer.message(producer.record("slurm", "jobFailed", {}, cluster="prod", node=user))
                channel.basic_publish(INGRESS, each.key, each.body, pika.BasicProperties(user_id=user))
            channel.tx_commit()

    def routed() -> int:
        return len({each.id for each in site.events("slurm")})

    # Whoever comes for the first time is in the queue of the newcomers.
    jobs(1)
    site.send(node.record("mount"))
    site.wait_for_events(1, "gpfs")
    site.wait_for_events(1, "slurm")
    jobs(8000)
    site.send(node.record("mount"))
    wait_for(lambda: routed() == 8001, 120, "all of the flood, in its time")
    site.wait_for_events(2, "gpfs")

    origins = [each.origin for each in site.in_order() if each.origin != "clusterbus"]
    assert origins[2:].index("gpfs") < 7000, "the node waited behind the flood"


def test_another_source_and_none_are_a_change_of_rights(service_site: ServiceSite, site: Site):
    def rights() -> tuple[str, str]:
        rows = service_site.admin.call("GET", "topic-permissions", service_site.vhost, service_site.user("jobs"))
        held = service_site.admin.call("GET", "permissions", service_site.vhost, service_site.user("jobs"))
        return rows[0]["write"].partition("\\.")[0], held["write"]

    assert rights() == ("^slurm", r"^(clusterbus\.ingress)$")
    service_site.define({"name": "jobs", "publishes": "lsf"})
    service_site.run("apply")
    assert rights() == ("^lsf", r"^(clusterbus\.ingress)$")
    service_site.define({"name": "jobs", "on": "disk"})
    service_site.run("apply")
    assert rights() == ("^$", "^$")
    assert [each["does"] for each in service_site.run("status", code=1)] == ["keep", "remove"]
