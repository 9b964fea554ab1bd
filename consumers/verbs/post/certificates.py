"""The certificates that servers are verified by: those of the system, or those in a file."""

from __future__ import annotations

import ssl
from pathlib import Path


class Unusable(Exception):
    """The file has no certificates, or cannot be read."""


def context(file: Path | None) -> ssl.SSLContext:
    """Return what verifies servers by the certificates in *file*, or by those of the system.

    Raises Unusable.
    """
    try:
        return ssl.create_default_context(cafile=str(file) if file else None)
    except ssl.SSLError as error:
        raise Unusable(f"{file} has no certificates in PEM format") from error
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror or error}") from error
