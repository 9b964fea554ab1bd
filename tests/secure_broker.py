"""A broker that speaks TLS and takes certificates only, with an authority of the test's own."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router.local_broker.rabbitmq_node import PrivateNode, installed_server
from tests.conftest import missing


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path, openssl: str) -> None:
        """Make it in *folder*."""
        folder.mkdir()
        self.folder, self._openssl = folder, openssl
        self._run("req", "-x509", "-subj", "/CN=Test CA", "-out", "ca.pem", "-keyout", "ca.key", *self._NEW)

    _NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

    def issue(self, name: str) -> None:
        """Make `<name>.pem` and `<name>.key`, for a client of this name and a server on 127.0.0.1."""
        (self.folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
        self._run("req", "-subj", f"/CN={name}", "-out", f"{name}.csr", "-keyout", f"{name}.key", *self._NEW)
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions")
        self._run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)

    def path(self, name: str) -> str:
        """Return where the file *name* is."""
        return str(self.folder / name)

    def _run(self, *arguments: str) -> None:
        environment = {"PATH": os.defpath, "HOME": str(self.folder)}
        subprocess.run(
            [self._openssl, *arguments], cwd=self.folder, env=environment, capture_output=True, check=True, timeout=240
        )


@contextmanager
def secure_broker(authority: Authority) -> Iterator[tuple[PrivateNode, int]]:
    """Yield a broker with the certificate `broker` of *authority*, and its port for TLS."""
    if installed_server() is None:
        missing("rabbitmq-server is not installed: the broker with TLS is a node on this machine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = [
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {authority.path('ca.pem')}",
        f"ssl_options.certfile = {authority.path('broker.pem')}",
        f"ssl_options.keyfile = {authority.path('broker.key')}",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
        "ssl_cert_login_from = common_name",
        "auth_mechanisms.1 = PLAIN",
        "auth_mechanisms.2 = EXTERNAL",
    ]
    with PrivateNode(config=config, plugins=("rabbitmq_management", "rabbitmq_auth_mechanism_ssl")) as node:
        yield node, port
