"""A broker for tests: which one, how it is started, and what tests ask of it over its HTTP API."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal
from uuid import uuid4

import pika
import pika.adapters.blocking_connection
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_fixed

from router.errors import Unreachable
from router.local_broker import guard
from router.local_broker.ports import LOOPBACK
from router.local_broker.private_broker import PrivateBroker
from router.local_broker.rabbitmq_container import IMAGE, PrivateContainer, docker, engine_answers, image_at_hand
from router.local_broker.rabbitmq_node import PrivateNode, installed_server

Kind = Literal["container", "node", "given"]
_HTTP_LIMIT: Final = 20.0


@dataclass(frozen=True)
class SharedBroker:
    """The one broker that all tests of a run share; each test has a virtual host of its own in it."""

    kind: Kind
    url: str
    http_url: str
    image: str = IMAGE
    """What containers are made of."""

    def vhost_url(self, vhost: str) -> str:
        """Return the address of *vhost* in it."""
        parts = urllib.parse.urlsplit(self.url)
        return parts._replace(path="/" + urllib.parse.quote(vhost, safe=""), query="").geturl()

    def as_text(self) -> str:
        """Return it as one environment variable holds it."""
        return json.dumps(asdict(self))


def _is_caught_while_changing(error: BaseException) -> bool:
    # RabbitMQ answers so where a virtual host of another test goes away while it lists what it has.
    return isinstance(error, urllib.error.HTTPError) and error.code == 500


class RabbitAdmin:
    """What tests do to a broker over its management API: quicker than rabbitmqctl, and the same for every kind."""

    def __init__(self, http_url: str) -> None:
        parts = urllib.parse.urlsplit(http_url)
        self._base = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        passwords.add_password(
            None, self._base, parts.username or "guest", parts.password or "guest", is_authenticated=True
        )
        # Never by way of a proxy of the machine's.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(passwords)
        )

    def call(self, method: str, *path: str, body: Any = None) -> Any:
        """Return what the API answers to *method* on *path*, whose words are quoted; raises HTTPError."""
        address = f"{self._base}/api/{'/'.join(urllib.parse.quote(word, safe='') for word in path)}"
        request = urllib.request.Request(
            address,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        content = self._listed(request) if method == "GET" else self._sent(request)
        return json.loads(content) if content else None

    @retry(
        retry=retry_if_exception(_is_caught_while_changing),
        stop=stop_after_attempt(5),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    def _listed(self, request: urllib.request.Request) -> bytes:
        return self._sent(request)

    def _sent(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=_HTTP_LIMIT) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            error.close()  # it holds a socket
            raise

    def add_vhost(self, vhost: str) -> None:
        """Make *vhost*; who calls has all rights in it."""
        self.call("PUT", "vhosts", vhost, body={})

    def delete_vhost(self, vhost: str) -> None:
        """Remove *vhost* and all in it."""
        self.call("DELETE", "vhosts", vhost)

    def add_user(self, user: str, password: str, vhost: str, *, write: str = ".*", read: str = ".*") -> None:
        """Make *user* (no administrator), who may configure all, *write* and *read* these in *vhost*."""
        self.call("PUT", "users", user, body={"password": password, "tags": ""})
        self.call("PUT", "permissions", vhost, user, body={"configure": ".*", "write": write, "read": read})

    def delete_user(self, user: str) -> None:
        """Remove *user*."""
        self.call("DELETE", "users", user)

    def close_connections(self, vhost: str, user: str = "") -> int:
        """Close every connection to *vhost*, or those of *user*, from the broker's side; return how many there were."""
        found = self.call("GET", "vhosts", vhost, "connections")
        names = [one["name"] for one in found if user in ("", one.get("user"))]
        for name in names:
            try:
                self.call("DELETE", "connections", name)
            except urllib.error.HTTPError as error:
                if error.code != 404:  # it closed in between
                    raise
        return len(names)


class Tap:
    """A test's own connection to a virtual host: to look into queues, to drain them and to publish by hand."""

    def __init__(self, url: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0
        self._connection = pika.BlockingConnection(parameters)
        self.channel = self._connection.channel()
        self.channel.confirm_delivery()

    def count(self, queue: str) -> int:
        """Return how many messages of *queue* wait for a consumer."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def consumers(self, queue: str) -> int:
        """Return how many consumers *queue* has."""
        return int(self.channel.queue_declare(queue, passive=True).method.consumer_count)

    def exists(self, queue: str) -> bool:
        """Say whether *queue* is there."""
        channel = self._connection.channel()
        try:
            channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != 404:
                raise
            return False
        channel.close()
        return True

    def take(self, queue: str) -> "Taken | None":
        """Take one message out of *queue*, for good, or return None where there is none."""
        method, properties, body = self.channel.basic_get(queue, auto_ack=True)
        return None if method is None else Taken(method.routing_key, properties, body)

    def drain(self, queue: str) -> "list[Taken]":
        """Take all messages that wait in *queue* now."""
        return list(iter(lambda: self.take(queue), None))

    def peek(self, queue: str) -> "list[Taken]":
        """Look at all messages that wait in *queue*, and leave them there (each is then marked as redelivered)."""
        channel = self._connection.channel()
        seen = []
        while (got := channel.basic_get(queue))[0] is not None:
            method, properties, body = got
            seen.append(Taken(method.routing_key, properties, body))
        channel.close()
        return seen

    def publish(self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties | None = None) -> None:
        """Publish with a confirm; raises what pika raises where the broker refuses, or nothing is bound."""
        self.channel.basic_publish(exchange, key, body, properties, mandatory=True)

    def close(self) -> None:
        """Close the connection, if the broker has not."""
        if self._connection.is_open:
            self._connection.close()


@dataclass(frozen=True)
class Taken:
    """A message out of a queue."""

    key: str
    properties: pika.BasicProperties
    body: bytes

    @property
    def headers(self) -> dict[str, Any]:
        """Its headers, none as an empty dict."""
        return dict(self.properties.headers or {})


def wanted_kind() -> Kind | None:
    """Return the kind of broker that this machine can give to tests, or None; CLUSTERBUS_TEST_BROKER forces one.

    It is container, node, the address of a broker, or a release such as 4.3: of that one are all brokers of the run.
    """
    forced = os.environ.get("CLUSTERBUS_TEST_BROKER", "")
    if "://" in forced:
        return "given"
    if forced in ("container", "node"):
        return forced  # type: ignore[return-value]  # mypy does not narrow by `in`
    if forced and not _wanted_release():
        raise ValueError(f"CLUSTERBUS_TEST_BROKER={forced!r}: write container, node, 4.3 or an amqp:// address")
    if forced and forced == _installed_release():
        return "node"
    if engine_answers() and image_at_hand(wanted_image()):
        return "container"
    return "node" if installed_server() and not forced else None


def wanted_image() -> str:
    """Return the image that tests make containers of: CLUSTERBUS_TEST_IMAGE, else that of the wanted release."""
    release = _wanted_release()
    if image := os.environ.get("CLUSTERBUS_TEST_IMAGE", ""):
        return image
    # Where the release has no image of its own name, what is used everywhere else may be of it: it is checked.
    return own if release and image_at_hand(own := f"rabbitmq:{release}-management") else IMAGE


def _wanted_release() -> str:
    forced = os.environ.get("CLUSTERBUS_TEST_BROKER", "")
    return forced if re.fullmatch(r"\d+\.\d+", forced) else ""


def _installed_release() -> str:
    server = installed_server()
    found = re.search(r"rabbitmq_server-(\d+\.\d+)\.", str(server)) if server else None
    return found[1] if found else ""


def new_broker(shared: SharedBroker, **options: Any) -> PrivateBroker:
    """Return a broker of the test's own of the kind of the *shared* one, not yet started; what there is, if given."""
    if shared.kind == "container" or (shared.kind == "given" and installed_server() is None):
        return PrivateContainer(**options, image=shared.image)
    return PrivateNode(**options)


def sync_queue_list(broker: PrivateBroker) -> None:
    """Have *broker* write where its quorum queues and streams are, which it does within seconds after a declaration.

    If it is killed before, it never finds them again, whatever is done (seen on 3.10 and 4.0).
    """
    broker.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")


def keeps_queues_in_mnesia(broker: PrivateBroker) -> bool:
    """Say whether *broker*, which has queues, keeps them in Mnesia: later releases have Khepri."""
    asked = "try mnesia:table_info(rabbit_queue, size) > 0 catch _:_ -> false end."
    return broker.ctl("eval", asked).strip() == "true"


@contextmanager
def shared_broker(kind: Kind) -> Iterator[SharedBroker]:
    """Run the broker that all tests share, and end it; a killed test run takes it along.

    Raises Unreachable where it is of another release than CLUSTERBUS_TEST_BROKER says.
    """
    with _shared_broker(kind) as shared:
        if release := _wanted_release():
            version = RabbitAdmin(shared.http_url).call("GET", "overview")["rabbitmq_version"]
            if not version.startswith(f"{release}."):
                raise Unreachable(f"no broker of release {release} is here: {shared.image} is {version}")
        yield shared


@contextmanager
def _shared_broker(kind: Kind) -> Iterator[SharedBroker]:
    if kind == "given":
        url = os.environ["CLUSTERBUS_TEST_BROKER"]
        parts = urllib.parse.urlsplit(url)
        credentials = parts.netloc.rpartition("@")[0] or "guest:guest"
        http = os.environ.get("CLUSTERBUS_TEST_BROKER_HTTP", f"http://{credentials}@{parts.hostname}:15672")
        yield SharedBroker("given", url, http)
    elif kind == "container":
        with _test_container() as shared:
            yield shared
    else:
        with PrivateNode(plugins=["rabbitmq_management"]) as node:
            yield SharedBroker("node", node.url, node.http_url)


@contextmanager
def _test_container() -> Iterator[SharedBroker]:
    # testcontainers' own reaper is one more image to pull; our guard does the same with none.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    # Where it is itself in a container it would go by the bridge, on which we publish nothing.
    os.environ["TESTCONTAINERS_CONNECTION_MODE"] = "docker_host"
    os.environ["TESTCONTAINERS_HOST_OVERRIDE"] = LOOPBACK
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Imported here: it takes half a second, and warns.
        from testcontainers.community.rabbitmq import RabbitMqContainer  # noqa: PLC0415 - see above

    name, image = f"clusterbus-tests-{uuid4().hex[:8]}", wanted_image()
    watch = subprocess.Popen(
        [sys.executable, "-IS", guard.__file__, "container", "", docker(), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with watch:
        container = RabbitMqContainer(image, username="guest", password="guest").with_name(name)
        # A pair is what the Docker SDK takes for "any port of this address"; testcontainers has no word for it.
        container.ports = dict.fromkeys((5672, 15672), (LOOPBACK, None))  # type: ignore[arg-type]
        try:
            container.start()
            port, http = (container.get_exposed_port(inside) for inside in (5672, 15672))
            amqp = f"amqp://guest:guest@{LOOPBACK}:{port}/%2F"
            yield SharedBroker("container", amqp, f"http://guest:guest@{LOOPBACK}:{http}", image)
        finally:
            container.stop()
            container.get_docker_client().client.close()
