"""What tests of several folders share: a broker, a virtual host in it, a proxy before it."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from router.broker.private import PrivateBroker
from router.errors import RouterError
from tests.proxy import Proxy
from tests.rabbit import RabbitAdmin, SharedBroker, Tap, new_broker, shared_broker, wanted_kind

_SHARED = "CLUSTERBUS_TESTS_SHARED_BROKER"
_PURE = ("tests/unit", "router", "consumers", "shim")


def in_ci() -> bool:
    """Say whether what is missing here is a failure."""
    return os.environ.get("CI", "") not in ("", "0", "false")


def missing(what: str) -> None:
    """Skip the test for want of *what*; on CI, fail."""
    if in_ci():
        pytest.fail(f"{what}; on CI that is a failure", pytrace=False)
    pytest.skip(what)


def pytest_configure(config: pytest.Config) -> None:
    """Start the broker that all tests share, once for all workers, unless only tests without one are asked for."""
    if hasattr(config, "workerinput") or _SHARED in os.environ or config.option.collectonly or _only_pure(config):
        return
    stack = ExitStack()
    config.add_cleanup(stack.close)
    stack.callback(os.environ.pop, _SHARED, None)
    kind = wanted_kind()
    if kind is None:
        os.environ[_SHARED] = json.dumps({"missing": "no broker: neither Docker nor rabbitmq-server is here"})
        return
    try:
        os.environ[_SHARED] = stack.enter_context(shared_broker(kind)).as_text()
    except (RouterError, TimeoutError) as error:
        os.environ[_SHARED] = json.dumps({"missing": str(error)})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that may take longest, so that no worker is left alone with one at the end."""

    def limit(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return float(marker.args[0]) if marker and marker.args else 0.0

    items.sort(key=limit, reverse=True)


def _only_pure(config: pytest.Config) -> bool:
    root = config.rootpath
    asked = [(Path(config.invocation_params.dir) / arg.partition("::")[0]).resolve() for arg in config.args]
    return all(any(path.is_relative_to(root / pure) for pure in _PURE) for path in asked)


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
def broker() -> SharedBroker:
    """The broker that all tests share; work in a `vhost` of it, and never stop it."""
    facts: dict[str, Any] = json.loads(os.environ.get(_SHARED, '{"missing": "the run was asked for pure tests only"}'))
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
def make_broker(broker: SharedBroker) -> Iterator[Callable[..., PrivateBroker]]:
    """A function that starts a broker of the test's own, of the shared one's kind; options are PrivateBroker's."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(new_broker(broker.kind, **options))


@pytest.fixture
def own_broker(make_broker: Callable[..., PrivateBroker]) -> PrivateBroker:
    """A broker of the test's own, to be stopped, killed and started as the test likes."""
    return make_broker()


@pytest.fixture
def proxy() -> Iterator[Callable[[str], Proxy]]:
    """A function that puts a proxy before an address: `proxy(url).url` is what to connect to."""
    with ExitStack() as stack:

        def before(url: str) -> Proxy:
            return stack.enter_context(Proxy(url))

        yield before
