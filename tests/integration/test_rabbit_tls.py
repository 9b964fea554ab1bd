"""RabbitMQ over TLS: who the broker is, and who we are, is told by certificates."""

import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from router.broker.interface import Message, Settlement
from router.broker.session import Session
from router.errors import Unreachable
from tests.certificates import Certificates
from tests.lines import bus

SHORT = timedelta(seconds=3)


@pytest.fixture(scope="module")
def certificates(require: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(require("openssl"), tmp_path_factory.mktemp("certificates"))
    made.sign("broker", "mq.example.org")
    made.sign("router", "router")
    return made


class Wrapper:
    """Speaks TLS to clients, demands their certificate, and passes on to a broker that does not."""

    def __init__(self, url: str, certificates: Certificates) -> None:
        parts = urllib.parse.urlsplit(url)
        self._target = (parts.hostname, parts.port)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.path("authority.pem"))
        context.load_cert_chain(certificates.path("broker.pem"), certificates.path("broker.key"))
        context.verify_mode = ssl.CERT_REQUIRED
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        credentials = parts.netloc.rpartition("@")[0]
        port = self._listener.getsockname()[1]
        self.url = f"amqps://{credentials}@127.0.0.1:{port}{parts.path}"
        self.subjects: list[object] = []

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._serve(self._listener.accept()[0])

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(10)
        try:
            near = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            plain.close()
            return
        self.subjects.append(near.getpeercert()["subject"])  # type: ignore[index]
        far = socket.create_connection(self._target)
        self._open += [near, far]
        for source, target in ((near, far), (far, near)):
            self._threads.append(threading.Thread(target=self._pump, args=(source, target)))
            self._threads[-1].start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            source.settimeout(20)
            while part := source.recv(65536):
                target.sendall(part)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(120)
        for each in self._open:
            each.close()


@pytest.fixture
def wrapper(vhost_url: str, certificates: Certificates) -> Iterator[Wrapper]:
    wrapper = Wrapper(vhost_url, certificates)
    yield wrapper
    wrapper.close()


def options(certificates: Certificates, **more: str) -> str:
    names = {"cacertfile": "authority.pem", "certfile": "router.pem", "keyfile": "router.key"}
    files = {option: certificates.path(name) for option, name in names.items()}
    return urllib.parse.urlencode(files | {"server_name_indication": "mq.example.org"} | more)


def test_both_sides_prove_who_they_are(wrapper: Wrapper, certificates: Certificates):
    with Session(f"{wrapper.url}?{options(certificates)}", name="test") as session:
        session.declare(bus("q"))

        # More than one read of the TLS layer holds.
        assert session.publish([Message("bus", "k", b"x" * 300_000, "id")] * 3) == [Settlement.CONFIRMED] * 3
    # The wrapper reads and writes one TLS connection in two threads, which OpenSSL does not always survive: then the
    # session connects anew, and proves itself again.
    assert set(wrapper.subjects) == {((("commonName", "router"),),)}


def test_a_broker_of_another_name_is_not_believed(wrapper: Wrapper, certificates: Certificates):
    url = f"{wrapper.url}?{options(certificates, server_name_indication='other.example.org')}"

    with pytest.raises(Unreachable, match=r"(?i)certificate"), Session(url, name="test", limit=SHORT / 3):
        pytest.fail("that is not the broker")


def test_a_broker_of_another_authority_is_not_believed(
    wrapper: Wrapper, certificates: Certificates, tmp_path: Path, require: Callable[[str], str]
):
    other = Certificates(require("openssl"), tmp_path)
    url = f"{wrapper.url}?{options(certificates, cacertfile=other.path('authority.pem'))}"

    with pytest.raises(Unreachable, match=r"(?i)certificate"), Session(url, name="test", limit=SHORT / 3):
        pytest.fail("that is not the broker")
