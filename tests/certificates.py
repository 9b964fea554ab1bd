"""An authority of the tests' own, and the certificates that it signs, made by openssl."""

import subprocess
from pathlib import Path


class Certificates:
    """An authority and what it has signed, as files in *folder*: `<name>.pem` and `<name>.key`."""

    def __init__(self, openssl: str, folder: Path) -> None:
        self._openssl, self._folder = openssl, folder
        self._make("authority", "/CN=authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def sign(self, name: str, *hosts: str) -> None:
        """Make the certificate of *name*, for a client of this name and a server on *hosts*."""
        names = ",".join(f"DNS:{host}" for host in hosts)
        signer = ("-CA", self.path("authority.pem"), "-CAkey", self.path("authority.key"))
        self._make(name, f"/CN={name}", *signer, "-addext", f"subjectAltName={names}", "-addext", _IS_NO_AUTHORITY)

    def path(self, name: str) -> str:
        """Return where the file *name* is."""
        return str(self._folder / name)

    def _make(self, name: str, subject: str, *words: str) -> None:
        files = ("-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.pem"))
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", subject)
        subprocess.run([self._openssl, "req", "-x509", *new, *words, *files], check=True, capture_output=True)


_IS_NO_AUTHORITY = "basicConstraints=critical,CA:false"
