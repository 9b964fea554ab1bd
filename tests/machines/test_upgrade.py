"""A site of the release before this one, upgraded machine by machine while events flow, as INSTALL.md says.

It has machines of its own, which the packages of that release were installed on by the page of that release.
"""

import time

import pytest

from packages import node_package
from packages.nfpm import FORMATS
from router.cluster.nodes.release import release
from tests.certificates import Certificates
from tests.conftest import missing
from tests.hub_staging import MOMENT
from tests.machines import earlier_release
from tests.machines import rig as machines
from tests.machines.page import Page
from tests.machines.rig import HUBS, MANAGEMENT, NODES, SITE, Rig
from tests.machines.traffic import Traffic
from tests.shared import filled_once
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(3400)

PATIENCE = 90.0
FIRST = "Raise a first event"
PROGRAMS = ("clusterbus-router", "clusterbus-consume")
UNTIL = "use the release that made it or a newer one"


@pytest.fixture
def earlier(pytestconfig, engine, shared):
    """The release before this one; the workers of one run build it once."""
    if not pytestconfig.getoption("--rig-faults"):
        pytest.skip("it takes long: --rig-faults")
    if not earlier_release.is_in_history():
        missing(f"the earlier release {earlier_release.COMMIT} is not in the history of this clone")
    return earlier_release.built(filled_once(shared, "earlier-release", earlier_release.build))


@pytest.fixture
def later(hub_packages, tmp_path):
    """The packages of this release."""
    return [*(node_package.build(form, tmp_path, release(), MOMENT) for form in FORMATS), *hub_packages.values()]


@pytest.fixture
def site(earlier, rig_images, tmp_path, require, request):
    """The machines of a site that runs the earlier release."""
    rig = Rig(tmp_path)
    with machines.lifeline(tmp_path):
        remover = machines.removing(rig)
        (tmp_path / rig.network).mkdir()
        rig.start(rig_images, Certificates(require("openssl"), tmp_path), earlier.packages)
        page = Page(earlier.page)
        page.follow(rig, "Install the packages")
        rig.pretend_gpfs()
        page.follow(rig, FIRST)
        failed = request.session.testsfailed
        yield rig
        if request.session.testsfailed > failed:
            rig.keep_logs(tmp_path / "logs")
    remover.wait()


def test_a_site_of_the_earlier_release_is_upgraded_while_events_flow(site, earlier, later, page, pytestconfig, capsys):
    Traffic.prepare(site)
    assert versions(site) == {earlier_release.VERSION}
    epochs = epochs_of(site)
    traffic = Traffic(site, "upgrade", pytestconfig.getoption("--rig-events"))
    traffic.begin()
    traffic.flows(time.time())

    began = time.time()
    site.replace_packages(later)
    page.run(site, "Upgrade")
    traffic.flows(time.time())
    balance = traffic.end()

    with capsys.disabled():
        events, longest = len(balance.captured), balance.longest(began)
        print(f"| rolling upgrade | {events:,} | {longest:.1f} s | {len(balance.repeated)} |")
    balance.check()
    assert versions(site) == {release().version}
    assert epochs_of(site) == epochs
    for host in (MANAGEMENT, *HUBS, *NODES):
        assert site[host].run("systemctl", "--failed", "--plain", "--no-legend") == ""

    # Back again: no package manager does that by itself, and the earlier programs leave the later tables alone.
    hub, name = site["hub1"], next(each.name for each in earlier.packages if each.name.startswith("clusterbus_"))
    for each in earlier.packages:
        hub.copy(each, f"/var/tmp/{each.name}")
    refused = hub.call("apt-get", "install", "--yes", f"/var/tmp/{name}")
    assert refused.returncode != 0
    assert "--allow-downgrades" in refused.stdout + refused.stderr
    hub.call("dpkg", "--install", f"/var/tmp/{name}", limit=600)
    since = ("journalctl", "--unit", "clusterbus-consume", "--no-pager", "--output=cat", "--lines=200")
    wait_for(lambda: UNTIL in hub.run(*since), PATIENCE, "the earlier consumer says why it does not start")
    hub.run("sh", "-c", f"apt-get install --yes {SITE}/clusterbus_*.deb", limit=600)
    hub.run("systemctl", "reset-failed", *PROGRAMS)
    hub.run("systemctl", "restart", *PROGRAMS, limit=300)
    assert hub.run("systemctl", "is-active", *PROGRAMS).split() == ["active", "active"]


def versions(rig):
    """The versions of the programs that are installed on all machines of the site."""
    found = {rig[host].run("clusterbus", "--version").split()[-1] for host in (MANAGEMENT, *HUBS)}
    words = ("/usr/libexec/clusterbus/capture.py", "--version")
    return found | {rig[node].run("python3", *words).split()[-1] for node in NODES}


def epochs_of(rig):
    """The epoch of each node's journal: who finds no journal begins another."""
    return {node: rig[node].run("head", "--lines=1", "/var/spool/clusterbus/journal") for node in NODES}
