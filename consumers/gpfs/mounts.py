"""What is mounted on the node that we are on."""

import re
from pathlib import Path

_FILE = Path("/proc/self/mounts")
_DEVICE_PLACE_KIND = 3


def mounted(file: Path = _FILE) -> list[tuple[str, str]]:
    """Return where something is mounted, and of what kind it is; nothing where that can't be told."""
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = [line.split(" ") for line in lines]
    return [(_plain(fields[1]), fields[2]) for fields in found if len(fields) >= _DEVICE_PLACE_KIND]


def _plain(text: str) -> str:
    # Blanks and such are in octal there.
    return re.sub(r"\\([0-7]{3})", lambda each: chr(int(each[1], 8)), text)
