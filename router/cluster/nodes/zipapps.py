"""Builds the relay as one file: a zip archive of the shim and pika that Python runs.  Builds are reproducible.

Entries are stored uncompressed, because releases of zlib compress differently.  All entries have the same time and mode
and are sorted by name.
"""

import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .errors import NodesError

_FIRST_LINE = b"#!/usr/bin/python3 -I\n"
_MAIN = '''"""Runs the relay."""

import sys

# systemd does not restart after exit code 2.
if sys.version_info < (3, 9):
    here = (sys.executable,) + sys.version_info[:2]
    sys.stderr.write("the relay needs Python 3.9 or later, and %s is %d.%d\\n" % here)
    sys.exit(2)

from shim.relay import main

sys.exit(main())
'''
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_MODE = 0o100644 << 16
_NOT_NEEDED = frozenset({"capture_gpfs.py", "installer.py"})


def relay(shim: Path, pika: Path | None = None) -> bytes:
    """Return the relay's zipapp, built from the folder *shim* and the package *pika*, by default the installed one.

    Raises NodesError if one of them is missing.
    """
    library = pika or _installed("pika")
    entries = {"__main__.py": _MAIN.encode()}
    entries.update({f"shim/{name}": content for name, content in _modules(shim) if name not in _NOT_NEEDED})
    entries.update({f"pika/{name}": content for name, content in _modules(library)})
    entries.update(_licence(library))
    if "shim/relay.py" not in entries or "pika/__init__.py" not in entries:
        raise NodesError(f"the relay cannot be built: files are missing in {shim} or {library}")
    stream = io.BytesIO()
    stream.write(_FIRST_LINE)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(entries.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            archive.writestr(entry, content)
    return stream.getvalue()


def _modules(package: Path) -> Iterator[tuple[str, bytes]]:
    for path in package.rglob("*.py"):
        yield path.relative_to(package).as_posix(), path.read_bytes()


def _licence(library: Path) -> dict[str, bytes]:
    """Return the licence of *library*, which must accompany every copy of it."""
    found = sorted(library.parent.glob(f"{library.name}-*.dist-info/**/LICENSE*"))
    return {f"{library.name}/LICENSE": found[0].read_bytes()} if found else {}


def _installed(name: str) -> Path:
    # Located, not imported: only the broker's modules import pika.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise NodesError(f"{name} is not installed here, and the relay's zipapp must contain it: install it with pip")
    return Path(next(iter(spec.submodule_search_locations)))
