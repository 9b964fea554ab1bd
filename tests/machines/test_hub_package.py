"""The package of hubs on machines with systemd: upgraded while its programs run, over old state, and removed."""

import shutil

import pytest

from consumers.programs.readiness import wait_served
from packages import hub_package, nfpm, node_package
from router.broker.topology import INGRESS
from router.cluster.nodes.release import release
from tests.hub_staging import MOMENT
from tests.machines.test_hub import CONSUME, NAMES, ROUTER, USERS, configure, install, outcomes
from tests.nodes import Node
from tests.rabbit import Tap
from tests.shared import filled_once
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(1200)

PATIENCE = 90.0
UNITS = (ROUTER, CONSUME)
STATE = "/var/lib/clusterbus"
ENVIRONMENT = "/usr/lib/clusterbus/environment"
REMOVE = {"deb": ["dpkg", "--purge"], "rpm": ["rpm", "--erase"]}
COMPLETED = (
    "source /usr/share/bash-completion/completions/clusterbus; COMP_WORDS=(clusterbus dea); COMP_CWORD=1;"
    " _clusterbus_completion clusterbus; echo ${COMPREPLY[@]}"
)
DONE = {name: ["done"] for name in NAMES}
TWICE = {name: ["done", "done"] for name in NAMES}


@pytest.fixture(scope="session")
def earlier_packages(engine, shared, staged_hub):
    """The packages of the release before this one; they have a module that this one lacks."""

    def build(folder):
        staged = folder / "staged"
        shutil.copytree(staged_hub, staged, symlinks=True)
        old = staged / ENVIRONMENT.lstrip("/") / "lib/python3/site-packages/router/of_earlier_releases"
        old.mkdir()
        (old / "__init__.py").touch()
        package = nfpm.Package(hub_package.NAME, "0.0.9", "hub", nfpm.machine())
        for form in nfpm.FORMATS:
            nfpm.pack(package, form, staged, folder, MOMENT)

    folder = filled_once(shared, "earlier-hub-packages", build)
    return {form: next(folder.glob(f"*.{form}")) for form in nfpm.FORMATS}


@pytest.fixture
def send(site):
    """A function that publishes one more record, as a node of the site."""
    site.add_user("n1")
    node = Node("n1")

    def sent():
        record = node.record("mount", "--fsName", "gpfs1")
        tap = Tap(site.url_of("n1"))
        tap.publish(INGRESS, record.key, record.body, record.properties)
        tap.close()

    return sent


def owners(machine, *paths):
    return machine.run("stat", "--format=%U:%G %a", *paths).splitlines()


@pytest.mark.parametrize("form", ["deb", "rpm"])
def test_an_upgrade_restarts_what_runs_and_a_removal_leaves_what_it_names(
    site, boot, hub_packages, earlier_packages, send, form, caplog
):
    caplog.set_level("ERROR", logger="pika")
    site.command("broker", "setup")
    hub = boot("hub")
    install(hub, earlier_packages[form])
    configure(hub, site)
    hub.run("systemctl", "enable", "--now", CONSUME)
    hub.run("systemctl", "start", ROUTER)
    wait_served(site.url_of("setup"), NAMES)
    send()
    wait_for(lambda: hub.call("pgrep", "--full", "sleep 10").returncode == 0, PATIENCE, "the job has begun")
    before = [hub.state(unit, "MainPID") for unit in UNITS]

    install(hub, hub_packages[form])

    assert hub.run("clusterbus", "--version") == f"clusterbus {release().version}\n"
    after = [hub.state(unit, "MainPID") for unit in UNITS]
    assert not {pid for (pid,) in before} & {pid for (pid,) in after}
    assert [hub.state(unit, "ActiveState", "UnitFileState", "User") for unit in UNITS] == [
        ["active", "disabled", USERS[ROUTER]],
        ["active", "enabled", USERS[CONSUME]],
    ]
    assert hub.run("bash", "-c", COMPLETED).split() == ["dead"]
    hub.run("test", "!", "-e", f"{ENVIRONMENT}/lib/python3/site-packages/router/of_earlier_releases")
    hub.run("test", "!", "-e", "/run/clusterbus-ran")
    send()
    wait_for(lambda: outcomes(hub) == TWICE, PATIENCE, f"both events are handled: {outcomes(hub)}")

    done = hub.call(*REMOVE[form], "clusterbus", limit=300)

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    for unit in UNITS:
        assert hub.state(unit, "LoadState", "ActiveState") == ["not-found", "inactive"]
    assert hub.run("systemctl", "--failed", "--plain", "--no-legend") == ""
    for path in ("/usr/lib/clusterbus", "/usr/bin/clusterbus", "/usr/share/doc/clusterbus"):
        hub.run("test", "!", "-e", path)
    assert hub.run("find", "/usr", "/etc/systemd", "-name", "*clusterbus*") == ""
    tops = ("/etc", "/var/lib", "/var/log", "/var/cache", "/run")
    left = hub.run("find", *tops, "-maxdepth", "1", "-name", "*clusterbus*").split()
    assert left == ["/etc/clusterbus", STATE, "/var/log/clusterbus"]
    for each in (*left, "user:clusterbus-router", "user:clusterbus-consumer"):
        assert each in said
    assert "Traceback" not in hub.run("journalctl", "--no-pager", "--output=cat")


def test_the_state_of_earlier_releases_is_found_again_and_a_job_that_runs_is_waited_for(
    site, boot, hub_packages, send, caplog
):
    caplog.set_level("ERROR", logger="pika")
    site.command("broker", "setup")
    hub = boot("hub")
    # What a site had before there was a package: everything in one folder, of the user of the relay.
    install(hub, hub_packages["deb"])
    configure(hub, site)
    hub.run("systemctl", "start", *UNITS)
    wait_served(site.url_of("setup"), NAMES)
    send()
    wait_for(lambda: outcomes(hub) == DONE, PATIENCE, "the event is handled")
    hub.run("dpkg", "--remove", "clusterbus")
    hub.run("useradd", "--system", "clusterbus")
    old = f"cd {STATE}; mv router/router.db* consumer/store.db* consumer/jobs .; rm -r router consumer"
    hub.run("sh", "-ec", f"{old}; chown -Rh clusterbus:clusterbus .; chmod 0750 .")
    job = hub.run("sh", "-c", f"ls {STATE}/jobs").strip()
    hub.run("systemd-run", "--unit=job", "flock", f"{STATE}/jobs/{job}/lock", "sleep", "infinity")
    wait_for(lambda: hub.call("flock", "-n", f"{STATE}/jobs/{job}/lock", "true").returncode, PATIENCE, "it runs")

    refused = hub.call("dpkg", "--install", f"/opt/{hub_packages['deb'].name}")

    assert refused.returncode != 0
    assert f"the detached command {job} is running" in refused.stderr
    assert hub.run("sh", "-c", f"ls {STATE}").split() == sorted(["jobs", "router.db", "store.db"])

    hub.run("systemctl", "stop", "job")
    said = install(hub, hub_packages["deb"])

    assert f"moved {STATE}/router.db to {STATE}/router/router.db, for the user clusterbus-router" in said
    assert owners(
        hub, STATE, f"{STATE}/router/router.db", f"{STATE}/consumer/store.db", f"{STATE}/consumer/jobs/{job}"
    ) == [
        "root:root 755",
        "clusterbus-router:clusterbus-router 640",
        "clusterbus-consumer:clusterbus-consumer 640",
        "clusterbus-consumer:clusterbus-consumer 700",
    ]
    assert hub.run("sh", "-c", f"ls {STATE}").split() == ["consumer", "router"]
    hub.run("systemctl", "start", *UNITS)
    assert outcomes(hub) == DONE
    send()
    wait_for(lambda: outcomes(hub) == TWICE, PATIENCE, f"the second event is handled too: {outcomes(hub)}")


def test_a_hub_may_be_a_node_too(site, boot, hub_packages, tmp_path):
    hub = boot("n1")
    relay = node_package.build("deb", tmp_path, release(), MOMENT)
    install(hub, hub_packages["deb"])
    install(hub, relay)
    configure(hub, site)
    hub.write("/etc/clusterbus/node/password", f"{site.add_user('n1')}\n", mode="0640", group="clusterbus")
    settings = (
        f"[relay]\ncluster = prod\nbroker = {site.relay['broker']}\npassword-file = /etc/clusterbus/node/password\n"
    )
    hub.write("/etc/clusterbus/relay.conf", settings)
    hub.run("systemctl", "start", "clusterbus-relay", ROUTER)
    secrets = {user: f"/etc/clusterbus/secrets/users/{user}/password" for user in USERS.values()}

    for user in ("clusterbus", *secrets):
        readable = [
            other for other, path in secrets.items() if not hub.call("runuser", "-u", user, "cat", path).returncode
        ]
        assert readable == [each for each in secrets if each == user]

    hub.run("dpkg", "--purge", "clusterbus-node")

    assert hub.state(ROUTER, "ActiveState") == ["active"]
    assert hub.run("clusterbus", "--version")

    install(hub, relay)
    hub.run("systemctl", "start", "clusterbus-relay")
    hub.run("dpkg", "--remove", "clusterbus")

    assert hub.state("clusterbus-relay", "ActiveState") == ["active"]
    hub.run("test", "-e", "/usr/lib/clusterbus/clusterbus-relay.pyz")
