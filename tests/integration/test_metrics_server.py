"""The server of metrics and health checks: slow, hostile and too many clients hold up nobody."""

import http.client
import socket
import threading
import time
from contextlib import closing, contextmanager
from http import HTTPStatus

import pytest

from router.errors import SettingsError
from router.metrics import web_server
from router.metrics.web_server import Page, WebServer
from tests.waiting import SLACK, wait_for

PAGES = {"/metrics": Page(b"up 1\n"), "/healthz": Page(b"error loop\n", HTTPStatus.SERVICE_UNAVAILABLE)}


@pytest.fixture
def server():
    with WebServer("router.metrics", "127.0.0.1:0", PAGES.get) as server:
        yield server


def asked(server, path="/metrics", method="GET"):
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30 * SLACK)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def said(server, request, *, end=True):
    """Return what the server answers to *request*, octet by octet."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30 * SLACK) as line:
        line.sendall(request)
        if end:
            line.shutdown(socket.SHUT_WR)
        received = b""
        while part := line.recv(65536):
            received += part
        return received


def test_a_page_is_shown_with_its_status(server):
    assert asked(server) == (200, b"up 1\n")
    assert asked(server, "/metrics?name=x") == (200, b"up 1\n")
    assert asked(server, "/healthz") == (503, b"error loop\n")
    assert asked(server, method="HEAD") == (200, b"")
    assert asked(server, "/") == (404, b"there are /metrics, /healthz and /readyz\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/2\r\n\r\n", b"400"),
        (b"GET http://a/metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics\x00 HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET /" + b"a" * 300 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /a\r\nX: y HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics HTTP/1.1\r\nA: \xff\xfe\r\nContent-Length: 99999999\r\n\r\n", b"200"),
    ],
)
def test_a_request_that_is_none_is_answered_and_does_no_harm(server, request_, status):
    assert said(server, request_).split(b" ", 2)[1] == status
    assert asked(server)[0] == 200


def test_a_request_without_end_is_cut(server):
    line = socket.create_connection(("127.0.0.1", server.port), timeout=30 * SLACK)
    with line:
        line.sendall(b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 2000)

        assert line.recv(100).startswith(b"HTTP/1.1 431 ")
    assert asked(server)[0] == 200


@contextmanager
def clients(server, count, first=b""):
    lines = []
    try:
        for _ in range(count):
            lines.append(socket.create_connection(("127.0.0.1", server.port), timeout=30 * SLACK))
            lines[-1].sendall(first)
        yield lines
    finally:
        for line in lines:
            line.close()


def test_clients_that_say_nothing_or_say_it_slowly_hold_up_nobody(server):
    with clients(server, 31, b"GET /met") as lines:
        for letter in b"rics":
            for line in lines:
                line.sendall(bytes([letter]))
            assert asked(server) == (200, b"up 1\n")


def test_of_too_many_connections_the_oldest_are_closed(server):
    with clients(server, 300, b"GET") as lines:
        assert asked(server) == (200, b"up 1\n")

        assert lines[0].recv(1) == b""
        assert len(server._clients) <= 32


def test_a_connection_ends_after_its_time(server, monkeypatch):
    monkeypatch.setattr(web_server, "_LIMIT", 0.3)

    with clients(server, 1, b"GET /metrics HTTP/1.1\r\n") as [line]:
        assert line.recv(1) == b""
    wait_for(lambda: not server._clients, 10, "the server has forgotten the connection")


def test_a_client_that_does_not_read_its_answer_holds_up_nobody(monkeypatch):
    monkeypatch.setattr(web_server, "_LIMIT", 2.0)
    large = Page(b"x" * 30_000_000)
    pages = {"/metrics": large, "/healthz": Page(b"ok\n")}
    with (
        WebServer("router.metrics", "127.0.0.1:0", pages.get) as server,
        clients(server, 5, b"GET /metrics HTTP/1.1\r\n\r\n"),
    ):
        assert asked(server, "/healthz") == (200, b"ok\n")
        wait_for(lambda: not server._clients, 20, "the server has dropped them")
        # Who reads gets all of it, in parts.
        monkeypatch.setattr(web_server, "_LIMIT", 60.0)
        assert asked(server)[1] == large.body


def test_endless_requests_make_a_page_once_a_second_and_cost_little():
    made = []

    def make(path):
        made.append(path)
        return Page(b"ok\n")

    def flood(server, until):
        while time.monotonic() < until:
            asked(server)

    with WebServer("router.metrics", "127.0.0.1:0", make) as server:
        begun, used = time.monotonic(), time.thread_time
        cpu = {}

        def look():
            cpu["server"] = used()
            return Page(b"ok\n")

        threads = [threading.Thread(target=flood, args=(server, begun + 3)) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        took = time.monotonic() - begun
        server._make = lambda _: look()
        asked(server, "/cpu")

    assert len(made) <= took + 2
    # In its thread: a fifth of one processor would be a lot.
    assert cpu["server"] < took / 5


def test_an_error_in_a_page_is_answered_and_logged(caplog):
    def make(_path):
        raise RuntimeError("no")

    with WebServer("router.metrics", "127.0.0.1:0", make) as server:
        assert asked(server) == (500, b"an error occurred, see the log\n")

    assert "cannot make a page of metrics" in caplog.text


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(server):
    with pytest.raises(SettingsError) as raised:
        WebServer("consumers.metrics", f"127.0.0.1:{server.port}", PAGES.get)

    assert str(raised.value).startswith(f"consumers.metrics: cannot listen at 127.0.0.1:{server.port}: ")
    assert "another program listens there; stop it (`ss -ltnp` shows it), or set another port" in str(raised.value)


@pytest.mark.parametrize(
    "address", ["192.0.2.1:9464", "no-such-host.invalid:9464", f"{'a' * 70}.b:9464", "[::zz]:9464"]
)
def test_an_address_that_is_not_this_machines_is_an_error_that_names_it(address):
    with pytest.raises(SettingsError, match=r"router\.metrics: cannot listen at .*; (set|this machine)"):
        WebServer("router.metrics", address, PAGES.get)


def test_an_address_is_free_at_once_after_the_end():
    with WebServer("router.metrics", "127.0.0.1:0", PAGES.get) as server:
        port = server.port
        asked(server)

    with WebServer("router.metrics", f"127.0.0.1:{port}", PAGES.get) as server:
        assert asked(server)[0] == 200


def test_ipv6_is_an_address_too():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = WebServer("router.metrics", "[::1]:0", PAGES.get)
    except SettingsError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with server, closing(http.client.HTTPConnection("::1", server.port, timeout=30)) as connection:
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
