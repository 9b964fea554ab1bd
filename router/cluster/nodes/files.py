"""A file for a node, and the bundle that carries files to it.  Pure."""

import hashlib
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """A file as it must be on a node; *content* may be a secret and is never shown."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"

    def __repr__(self) -> str:
        """Describe the file without its content."""
        return f"File({self.path!r}, {len(self.content)} octets, {self.mode:04o} {self.owner}:{self.group})"

    def facts(self) -> dict[str, object]:
        """Return its path, checksum, owner, group and mode, without the content."""
        return {
            "path": self.path,
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "owner": self.owner,
            "group": self.group,
            "mode": self.mode,
        }


def part(header: Mapping[str, object], files: Iterable[File], sent: Container[str] = ()) -> bytes:
    r"""Return half a bundle: *header* with the facts of *files*, then the contents of those whose path is in *sent*.

    >>> part({"node": "n1"}, [File("/etc/a", b"A")], ["/etc/a"])[-10:]
    b'e": 1}]}\nA'
    """
    known = [each.facts() | {"size": len(each.content) if each.path in sent else None} for each in files]
    line = json.dumps({**header, "files": known}).encode() + b"\n"
    return line + b"".join(each.content for each in files if each.path in sent)
