"""A connection that the peer resets just as it is made is a failed connection, for the relay as for other programs."""

import socket
import struct

import pytest

import router.broker.amqp.pika_connection
import shim.connection

SEVER = struct.pack("ii", 1, 0)
"""Options with which the end of a connection is a reset."""


@pytest.fixture
def reset():
    """A socket that was connected until its peer reset the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SEVER)
        theirs.close()
        with pytest.raises(ConnectionResetError):
            ours.recv(1)
        ours.setblocking(False)
        yield ours


@pytest.mark.parametrize("module", [router.broker.amqp.pika_connection, shim.connection], ids=["router", "relay"])
def test_a_reset_is_reported_to_who_connects_and_leaves_the_loop_running(module, reset):
    loop = module.IOLoop()
    reported = []

    def done(error):
        reported.append(error)
        loop.stop()

    module.Services(loop).create_streaming_connection(
        protocol_factory=object, sock=reset, on_done=done, ssl_context=None, server_hostname=None
    )
    loop.call_later(60, loop.stop)
    loop.start()
    loop.close()

    assert ["getpeername() failed" in str(each) for each in reported] == [True]
