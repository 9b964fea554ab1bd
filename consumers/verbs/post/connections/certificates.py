"""The certificates that verify servers, and the one that a client shows; each is read again when its file changes."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from router import trust


class Unusable(Exception):
    """A file has no certificate or key, or cannot be read; *field* names the option."""

    def __init__(self, field: str, message: str) -> None:
        """Say in *message* what is wrong with the file of *field*."""
        self.field = field
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Files:
    """The *authority* that verifies servers, by default those of the system; the client's *own* certificate and *key*.

    The file of the certificate may have the key too.
    """

    authority: Path | None = None
    own: Path | None = None
    key: Path | None = None

    def state(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what changes when one of the files is written or replaced."""
        return tuple(_state(each) for each in (self.authority, self.own, self.key))

    def context(self) -> ssl.SSLContext:
        """Return what verifies servers, and shows the client's own certificate.  Raises Unusable."""
        self._judge()
        try:
            made = ssl.create_default_context(cafile=str(self.authority) if self.authority else None)
        except ssl.SSLError as error:
            raise Unusable("verify", f"{self.authority} has no certificates in PEM format") from error
        except OSError as error:
            raise Unusable("verify", f"{self.authority}: {error.strerror or error}") from error
        if self.own:
            self._show(made, self.own)
        return made

    def _judge(self) -> None:
        for field, file, judge in (
            ("verify", self.authority, trust.problem),
            ("certificate", self.own, trust.problem if self.key else trust.problem_of_secret),
            ("certificate_key", self.key, trust.problem_of_secret),
        ):
            if file and (found := judge(file)):
                raise Unusable(field, found)

    def _show(self, context: ssl.SSLContext, own: Path) -> None:
        for field, file in (("certificate", own), ("certificate_key", self.key)):
            try:
                if file:
                    file.open("rb").close()
            except OSError as error:
                raise Unusable(field, f"{file}: {error.strerror or error}") from error
        try:
            # With an empty password OpenSSL fails for an encrypted key, and does not ask on the terminal.
            context.load_cert_chain(own, self.key, password="")
        except (OSError, ValueError) as error:
            where = f"the key in {self.key}" if self.key else "its key in the same file"
            way_out = "write both in PEM format, the key without a password"
            raise Unusable("certificate", f"{own} and {where} cannot be used together: {way_out}") from error


def expiry(file: Path) -> datetime:
    """Return when the first certificate in *file*, which can be used, expires."""
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 - only checks need it

    return load_pem_x509_certificate(Path(file).read_bytes()).not_valid_after_utc


def _state(file: Path | None) -> tuple[int, int, int] | None:
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size) if found else None
