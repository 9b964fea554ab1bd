"""What tests of several folders share: a broker, a virtual host in it, a proxy before it, empty databases."""

import gc
import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from consumers.store.database import Store
from router import redaction
from router.errors import RouterError, Unreachable
from router.local_broker.private_broker import PrivateBroker
from router.settings.sections import default_places
from tests import forking, postgres, socket_origins
from tests.engines import Bench
from tests.hub_staging import stage
from tests.javascript_packages import JavaScript, installed
from tests.proxy import Proxy
from tests.python_packages import beside
from tests.rabbit import RabbitAdmin, SharedBroker, Tap, new_broker, shared_broker, wanted_kind
from tests.routing import Site
from tests.service_site import ServiceSite
from tests.service_site import service_site as services_of_a_test
from tests.shared import filled_once
from tests.temporary_files import TemporaryFiles
from tests.waiting import SLACK

# How long an example takes depends on the machine, so it fails no test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("any machine"), max_examples=15)
settings.register_profile("long", settings.get_profile("any machine"), max_examples=10_000)
settings.load_profile("any machine")

_SHARED = "CLUSTERBUS_TESTS_SHARED_BROKER"
_FILES = pytest.StashKey[TemporaryFiles]()
_NO_SHARED_BROKER = ("tests/unit", "tests/machines", "clusterbus", "consumers", "packages", "router", "shim")


def in_ci() -> bool:
    """Say whether what is missing here is a failure."""
    return os.environ.get("CI", "") not in ("", "0", "false")


def missing(what: str) -> None:
    """Skip the test for want of *what*; on CI, fail."""
    if in_ci():
        pytest.fail(f"{what}; on CI that is a failure", pytrace=False)
    pytest.skip(what)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let those tests last longer that look for what nobody thought of."""
    parser.addoption("--soak-minutes", type=float, default=0, help="how long to soak; by default each neighbour once")
    parser.addoption("--soak-seed", type=int, default=1, help="decides the order of neighbours and who sends when")
    parser.addoption("--soak-beside", default="", help="only the neighbours whose names have this")
    parser.addoption("--rig-events", type=int, default=100, help="how many events each node captures beside each fault")
    parser.addoption("--rig-faults", action="store_true", help="all faults of machines, and the upgrade of all")
    parser.addoption("--soak-controls", action="store_true", help="also the same floods past the router, to compare")


def pytest_configure(config: pytest.Config) -> None:
    """Have files kept in memory, and start the broker that all workers share, unless no test needs one."""
    # Tests start hundreds of programs of ours: each would compile all modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    socket_origins.install()
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    files = config.stash[_FILES] = TemporaryFiles()
    config.add_cleanup(files.close)
    if _SHARED in os.environ or _needs_none(config):
        return
    stack = ExitStack()
    config.add_cleanup(stack.close)
    stack.callback(os.environ.pop, _SHARED, None)
    try:
        kind = wanted_kind()
        if kind is None:
            raise Unreachable("no broker: neither Docker nor rabbitmq-server is here")
        os.environ[_SHARED] = stack.enter_context(shared_broker(kind)).as_text()
    except (RouterError, TimeoutError) as error:
        if forced := os.environ.get("CLUSTERBUS_TEST_BROKER"):
            raise pytest.UsageError(f"CLUSTERBUS_TEST_BROKER={forced}: {error}") from error
        os.environ[_SHARED] = json.dumps({"missing": str(error)})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the files of a run in which a test failed."""
    if files := session.config.stash.get(_FILES, None):
        files.is_kept = session.testsfailed > 0


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what runs on PostgreSQL; of unit tests, `make test` runs only those of the store there."""
    if not isinstance(item, pytest.Function) or _database(item) != "postgresql":
        return
    item.add_marker(pytest.mark.postgresql)
    path = item.path.relative_to(item.config.rootpath)
    if path.is_relative_to("tests/unit") and not path.is_relative_to("tests/unit/consumers/store"):
        item.add_marker(pytest.mark.long)


def _database(test: pytest.Function) -> object:
    return test.callspec.params.get("database") if hasattr(test, "callspec") else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among ten thousand tests, neither now nor in each test: they all stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let workers begin with tests that may take longest, so none is left alone with one; extend all limits.

    The workers get equal parts of the list, one after another, and take the ends of others' parts when they are done.
    Tests that share the machines of a site wait for each other, and those of a module share what its fixtures make,
    such as services of Docker Compose: one worker gets all of them, and early.  The limits in the tests are for a quiet
    machine; `SLACK` times as long is allowed, as in `wait_for`.
    """

    def limit(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return float(marker.args[0]) if marker and marker.args else 0.0

    more = 60 * config.getoption("--soak-minutes")
    together: dict[str, list[pytest.Item]] = {}
    for each in items:
        together.setdefault(_group(each), []).append(each)
    groups = sorted(together.values(), key=lambda group: (max(map(limit, group)), len(group)), reverse=True)
    parts: list[list[pytest.Item]] = [[] for _ in range(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))]
    for each in groups:
        min(parts, key=len).extend(each)
    for part in parts[1::2]:
        # It begins with the shortest third: or all sets of machines would run at once, and each test take longer.
        long = len(part) - len(part) // 3
        part[:] = part[long:] + part[:long]
    # The first worker gets the fewest where they cannot be equal.
    items[:] = [item for part in sorted(parts, key=len) for item in part]
    for item in items:
        if wanted := limit(item) or float(item.config.getini("timeout") or 0):
            item.add_marker(pytest.mark.timeout(wanted * SLACK + more), append=False)


def _group(item: pytest.Item) -> str:
    """Return the name of those that one worker gets together with *item*."""
    if "rig" in getattr(item, "fixturenames", ()):
        return "machines"
    return item.location[0] if _has_fixture_of_module(item) else item.nodeid


def _has_fixture_of_module(item: pytest.Item) -> bool:
    known = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    return any(each.scope == "module" for definitions in known.values() for each in definitions)


def _needs_none(config: pytest.Config) -> bool:
    root = config.rootpath
    asked = [(Path(config.invocation_params.dir) / arg.partition("::")[0]).resolve() for arg in config.args]
    return all(any(path.is_relative_to(root / each) for each in _NO_SHARED_BROKER) for path in asked)


@pytest.fixture(scope="session", autouse=True)
def forked_programs() -> Iterator[None]:
    """The programs of ours that tests start are forked from one that has imported them."""
    with forking.allowed():
        yield


@pytest.fixture(scope="session", autouse=True)
def nothing_is_lost_on_this_machine() -> Iterator[None]:
    """Sees to it that captures that lose something do so on a machine of their test: `doctor` reports it here."""
    there = Path("/run/clusterbus")
    was_there = there.exists()
    yield
    assert was_there or not there.exists(), f"a test made {there} on this machine: use the fixture `machine`"


@pytest.fixture(autouse=True)
def signals_stay() -> Iterator[None]:
    """Sees to it that no test leaves a signal ignored: all programs that are started later would inherit that."""
    ours = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {each: signal.getsignal(each) for each in ours}
    yield
    left = [each.name for each in ours if signal.getsignal(each) is not before[each]]
    for each in ours:
        signal.signal(each, before[each])
    assert left == [], "a test has changed what these signals do"


@pytest.fixture(autouse=True)
def logging_stays() -> Iterator[None]:
    """Sees to it that a command that ran in this process leaves its log level and handlers to no other test."""
    loggers = [logging.getLogger(name) for name in (None, "router", "consumers", "clusterbus", "pika")]
    before = [(each, each.level, list(each.handlers)) for each in loggers]
    hooks = sys.excepthook, threading.excepthook
    yield
    for each, level, handlers in before:
        each.setLevel(level)
        each.handlers[:] = handlers
    sys.excepthook, threading.excepthook = hooks


@pytest.fixture(autouse=True)
def state_is_of_the_test_run(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Settings without places keep state in a folder of the test run, except where a module tests these places."""
    if not hasattr(request.module, "default_places"):
        monkeypatch.setattr(default_places, "STATE", tmp_path_factory.getbasetemp() / "state")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret is hidden because another test has read it."""
    monkeypatch.setattr(redaction, "_known", redaction._Known())


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """A function that returns the path of a tool, or skips the test without it (on CI: fails)."""

    def find(tool: str) -> str:
        path = shutil.which(tool)
        if path is None:
            missing(f"{tool} is not installed")
        return str(path)

    return find


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of one run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def staged_hub(shared: Path) -> Path:
    """What the package for hubs holds; the workers of one run stage it once."""
    return filled_once(shared, "staged-hub", stage)


@pytest.fixture
def javascript(require: Callable[[str], str], tmp_path: Path) -> JavaScript:
    """Node, with the packages of `tests/javascript`."""
    return installed(require("npm"), require("node"), tmp_path)


@pytest.fixture(scope="session")
def release_1() -> dict[str, str]:
    """The environment of programs that find release 1 of the SDK of CloudEvents; the tests themselves have 2."""
    return beside("cloudevents==1.13.0")


@pytest.fixture(scope="session")
def broker() -> SharedBroker:
    """The broker that all tests share; work in a `vhost` of it, and never stop it."""
    facts: dict[str, Any] = json.loads(os.environ.get(_SHARED, '{"missing": "the run was asked for tests without it"}'))
    if "missing" in facts:
        missing(facts["missing"])
    return SharedBroker(**facts)


@pytest.fixture(scope="session")
def rabbit_admin(broker: SharedBroker) -> RabbitAdmin:
    """What can be done to the shared broker over HTTP."""
    return RabbitAdmin(broker.http_url)


@pytest.fixture
def vhost(rabbit_admin: RabbitAdmin) -> Iterator[str]:
    """A virtual host of the test's own, so that no test sees another's queues."""
    name = f"test-{uuid4().hex[:8]}"
    rabbit_admin.add_vhost(name)
    yield name
    rabbit_admin.delete_vhost(name)


@pytest.fixture
def vhost_url(broker: SharedBroker, vhost: str) -> str:
    """The address of `vhost`."""
    return broker.vhost_url(vhost)


@pytest.fixture
def tap(vhost_url: str) -> Iterator[Tap]:
    """The test's own connection to `vhost`: count, take, peek, drain, publish."""
    tap = Tap(vhost_url)
    yield tap
    tap.close()


@pytest.fixture
def site(tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin) -> Iterator[Site]:
    """A router over `vhost`, and nodes that send to it."""
    with Site(tmp_path, vhost_url, rabbit_admin) as site:
        yield site


@pytest.fixture
def service_site(
    tmp_path: Path, broker: SharedBroker, rabbit_admin: RabbitAdmin, vhost: str, tap: Tap
) -> Iterator[ServiceSite]:
    """A virtual host for services, and `clusterbus services` for it."""
    yield from services_of_a_test(tmp_path, broker, rabbit_admin, vhost, tap)


@pytest.fixture
def make_broker(broker: SharedBroker) -> Iterator[Callable[..., PrivateBroker]]:
    """A function that starts a broker of the test's own, of the shared one's kind; options are PrivateBroker's."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(new_broker(broker, **options))


@pytest.fixture
def own_broker(make_broker: Callable[..., PrivateBroker]) -> PrivateBroker:
    """A broker of the test's own, to be stopped, killed and started as the test likes."""
    return make_broker()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Server]:
    """A PostgreSQL that the tests of one worker share; work in a schema of it."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres.started())
        except postgres.Missing as error:
            missing(str(error))
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A function that returns the address of a database by its name, empty at first: on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield lambda name: f"sqlite:///{tmp_path / name}.db"
        return
    server: postgres.Server = request.getfixturevalue("postgresql")
    with ExitStack() as stack:
        known: dict[str, str] = {}

        def named(name: str) -> str:
            if name not in known:
                known[name] = stack.enter_context(server.schema())
            return known[name]

        yield named


@pytest.fixture
def store(database: Callable[[str], str]) -> Iterator[Store]:
    """A store that is empty."""
    with Store(database("store")) as store:
        yield store


@pytest.fixture
def bench(database: Callable[[str], str]) -> Iterator[Bench]:
    """An engine that is not started yet."""
    bench = Bench(database("store"))
    yield bench
    bench.store.close()


@pytest.fixture
def proxy() -> Iterator[Callable[[str], Proxy]]:
    """A function that puts a proxy before an address: `proxy(url).url` is what to connect to."""
    with ExitStack() as stack:

        def before(url: str) -> Proxy:
            return stack.enter_context(Proxy(url))

        yield before
