"""The machine `sink`: keeps each mail (port 25) and each post (443, over TLS) as a line of JSON.

Its one argument is the folder of server.pem and server.key; there it writes mails.jsonl and posts.jsonl.
"""

import json
import socketserver
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
_writing = threading.Lock()


def keep(name: str, **facts: Any) -> None:
    """Append *facts* to the file *name*."""
    with _writing, (FOLDER / name).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"at": time.time(), **facts}) + "\n")


class Post(BaseHTTPRequestHandler):
    """One request, which is accepted."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Keep it."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        keep("posts.jsonl", id=self.headers.get("webhook-id", ""), path=self.path, body=body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quietly."""


class Mail(socketserver.StreamRequestHandler):
    """One session of a mail client."""

    def handle(self) -> None:
        """Take its mails."""
        self.answer("220 sink")
        to: list[str] = []
        while line := self.rfile.readline().decode(errors="replace").strip():
            word = line.upper()
            if word.startswith("EHLO"):
                self.answer("250 sink")
            elif word == "DATA":
                self.answer("354 go on")
                keep("mails.jsonl", to=to, text="".join(iter(lambda: self.rfile.readline().decode(), ".\r\n")))
                to = []
                self.answer("250 kept")
            elif word == "QUIT":
                self.answer("221 bye")
                return
            else:
                if word.startswith("RCPT"):
                    to.append(line.partition(":")[2].split()[0].strip("<>"))
                self.answer("250 ok")

    def answer(self, text: str) -> None:
        """Send *text*."""
        self.wfile.write(f"{text}\r\n".encode())


class Mails(socketserver.ThreadingTCPServer):
    """The mail server."""

    allow_reuse_address = daemon_threads = True


def main() -> None:
    """Serve both until the end."""
    web = ThreadingHTTPServer(("", 443), Post)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "server.pem", FOLDER / "server.key")
    web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    Mails(("", 25), Mail).serve_forever()


if __name__ == "__main__":
    main()
