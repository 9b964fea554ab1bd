"""Receivers on loopback, to be told things: a webhook that misbehaves on demand, and a mail server that keeps mail."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Behaviour = Callable[["_Request"], None]


@dataclass
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    port: int


class Webhook(ThreadingHTTPServer):
    """A webhook; what it does next is *behave*, `Webhook.answer(...)` and the others."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.received: list[Received] = []
        self.behave: Behaviour = answering(200)
        self.released = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}/hook"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is part of the tests."""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Webhook

    def _receive(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            return  # its sender was killed in the middle
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append(Received(self.command, self.path, headers, body, self.client_address[1]))
        self.server.behave(self)

    do_POST = do_PUT = do_PATCH = do_GET = _receive  # noqa: N815 - http.server's

    def log_message(self, *_: Any) -> None:
        """Quietly."""


def answering(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer with *status*, *body* and *headers*, `retry_after="3"`."""

    def behave(request: _Request) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return behave


def silent(request: _Request) -> None:
    """Say nothing until the test is over."""
    request.server.released.wait(20)
    request.close_connection = True


def cutting(request: _Request) -> None:
    """Promise a body, and leave in the middle of it."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    request.close_connection = True


def leaving(request: _Request) -> None:
    """Leave without a word."""
    request.close_connection = True


def dripping(start: bytes) -> Behaviour:
    """Send *start*, then an octet now and then, for ever."""

    def behave(request: _Request) -> None:
        request.wfile.write(start)
        request.close_connection = True
        while not request.server.released.wait(0.05):
            request.wfile.write(b"x")
            request.wfile.flush()

    return behave


def flooding(request: _Request) -> None:
    """Send a body without an end, as fast as it goes."""
    request.close_connection = True
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
    while not request.server.released.is_set():
        request.wfile.write(b"y" * 65536)


Server = TypeVar("Server", "Webhook", "MailServer")


@contextmanager
def _served(server: Server) -> Iterator[Server]:
    """Have *server* serve, in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join(120)


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Yield a webhook that is there."""
    with _served(Webhook()) as server:
        yield server


@dataclass
class Mail:
    """One mail as it came; `text` has each part's words by its content type."""

    sender: str
    recipients: list[str]
    raw: bytes
    texts: dict[str, str] = field(default_factory=dict)
    headers: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        message = email.message_from_bytes(self.raw, policy=email.policy.default)
        for name, value in message.items():
            self.headers.setdefault(name.lower(), []).append(str(value))
        self.texts = {
            each.get_content_type(): each.get_content()
            for each in message.walk()
            if each.get_content_maintype() == "text"
        }


class MailServer(socketserver.ThreadingTCPServer):
    """A mail server: takes mail, or answers to each recipient or message with *refusal*, or says nothing."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.mails: list[Mail] = []
        self.refusal = ""
        self.silent = False
        self.released = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, to: str = "team@example.com", more: str = "") -> str:
        return f"mailto://127.0.0.1:{self.port}?from=bus@example.com&to={to}{more}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is part of the tests."""


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        if self.server.silent:
            self.server.released.wait(20)
            return
        self._say("220 sink")
        sender, recipients = "", []
        while line := self.rfile.readline().decode().strip():
            word = line.upper()
            if word.startswith("MAIL"):
                sender, recipients = line, []
            elif word.startswith("RCPT"):
                recipients.append(line.partition("<")[2].rstrip(">"))
            elif word.startswith("DATA"):
                self._say("354 go on")
                self._data(sender, recipients)
                continue
            elif word.startswith("QUIT"):
                self._say("221 bye")
                return
            self._say(self.server.refusal if self.server.refusal and word.startswith("RCPT") else "250 fine")

    def _data(self, sender: str, recipients: Sequence[str]) -> None:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line[1:] if line.startswith(b".") else line)
        self.server.mails.append(Mail(sender, list(recipients), b"".join(lines)))
        self._say("250 taken")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Yield a mail server that is there."""
    with _served(MailServer()) as server:
        yield server


def seconds(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what *call* returns, and how long it took."""
    began = time.monotonic()
    return call(), time.monotonic() - began
