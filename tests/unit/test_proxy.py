"""The proxy that faults are made with does what its modes say: a test of a fault is worth as much as this."""

import contextlib
import socket
import threading

import pytest

from tests.proxy import Mode, Proxy
from tests.waiting import wait_for


@pytest.fixture
def echo():
    """The port of a server that sends everything back."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = []

        def serve(client):
            with client, contextlib.suppress(OSError):
                while part := client.recv(65536):
                    client.sendall(part)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threads.append(threading.Thread(target=serve, args=(client,)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for thread in [accepting, *threads]:
        thread.join(120)
        assert not thread.is_alive()


@pytest.fixture
def proxy(echo):
    with Proxy(f"amqp://user:word@127.0.0.1:{echo}/vhost?heartbeat=5") as proxy:
        yield proxy


@pytest.fixture
def client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as client:
        assert said(client, b"hello") == b"hello"
        yield client


def said(client, words):
    """Send *words*; return the answer, None where none comes."""
    client.sendall(words)
    try:
        return client.recv(100)
    except TimeoutError:
        return None


def is_reset(port):
    """Say whether who connects to *port* is reset, be it while connecting."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.recv(1)
    except ConnectionResetError:
        return True
    return False


def test_its_url_differs_from_the_brokers_in_host_and_port_only(proxy):
    assert proxy.url == f"amqp://user:word@127.0.0.1:{proxy.port}/vhost?heartbeat=5"


@pytest.mark.parametrize("mode", [Mode.STALL, Mode.STALL_IN, Mode.STALL_OUT, Mode.BLACK_HOLE])
def test_what_is_stalled_arrives_when_it_passes_again(proxy, client, mode):
    proxy.mode = mode
    assert said(client, b"later") is None

    proxy.mode = Mode.PASS

    assert client.recv(100) == b"later"


@pytest.mark.parametrize(("mode", "reached_the_broker"), [(Mode.SWALLOW_IN, 5), (Mode.SWALLOW_OUT, 0)])
def test_what_is_swallowed_never_arrives(proxy, client, mode, reached_the_broker):
    before = proxy.passed_out
    proxy.mode = mode

    assert said(client, b"never") is None

    assert proxy.passed_out - before == reached_the_broker
    proxy.mode = Mode.PASS
    assert said(client, b"again") == b"again"


def test_answers_are_swallowed_after_just_as_many_bytes_as_were_asked_for(proxy, client):
    proxy.swallow_in_after(3)

    assert said(client, b"abcdef") == b"abc"
    assert said(client, b"ghi") is None


def test_a_black_hole_accepts_and_never_answers(proxy):
    proxy.mode = Mode.BLACK_HOLE

    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as client:
        assert said(client, b"anybody?") is None


def test_a_connection_made_into_a_black_hole_is_broken_when_it_passes_again(proxy):
    proxy.mode = Mode.BLACK_HOLE
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as client:
        wait_for(lambda: proxy.connections == 1, 5, "it was accepted")

        proxy.mode = Mode.PASS

        with pytest.raises(ConnectionResetError):
            said(client, b"anybody?") or client.recv(1)


def test_a_refused_client_is_reset_and_those_before_it_go_on(proxy, client):
    proxy.mode = Mode.REFUSE

    assert is_reset(proxy.port)
    assert said(client, b"still") == b"still"


def test_a_cut_is_an_end_in_order_and_a_reset_is_none(proxy, client):
    proxy.cut()
    assert client.recv(1) == b""

    with socket.create_connection(("127.0.0.1", proxy.port), timeout=2) as other:
        assert said(other, b"hello") == b"hello"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            other.recv(1)
    assert proxy.open_connections == 0


def test_an_end_in_order_is_passed_on(proxy, client):
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)

    assert client.recv(100) == b"last words"
    assert client.recv(100) == b""
    wait_for(lambda: proxy.open_connections == 0, 5, "the connection is forgotten")


def test_much_passes_whole_also_when_the_reader_is_slow(proxy, client):
    sent = b"0123456789" * 1_000_000
    client.settimeout(5)
    sending = threading.Thread(target=client.sendall, args=(sent,))
    sending.start()

    got = bytearray()
    while len(got) < len(sent):
        got += client.recv(100_000)

    sending.join(120)
    assert got == sent


def test_a_broker_that_is_down_resets_who_comes_through_the_proxy():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Proxy(f"amqp://127.0.0.1:{port}") as proxy:
        assert is_reset(proxy.port)
