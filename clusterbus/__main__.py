"""Where the command `clusterbus` starts: it checks first that it runs its own code."""

import gc
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("router", "consumers", "shim")
"""Packages of ours whose names other distributions use too."""


def shadowed() -> str:
    """Return what is imported in the place of one of our packages, or nothing.

    Other distributions have packages of these names: installed in another folder they come first, installed in the same
    folder they overwrite our files.
    """
    home = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        spec = find_spec(name)
        place = Path(spec.origin).resolve() if spec and spec.origin else None
        if place != home / name / "__init__.py":
            return f"{name} is imported from {place or 'nowhere'}, not from {home / name}"
        if b"clusterbus" not in place.read_bytes():
            return f"{place} belongs to another distribution"
    return ""


def main() -> None:
    """Run the command line."""
    if found := shadowed():
        way_out = "install clusterbus in a virtual environment of its own, without that distribution"
        sys.stderr.write(f"clusterbus: {ascii(found)[1:-1]}: {way_out}\n")
        sys.exit(1)
    # Nothing that an import makes is garbage: looking for some takes a seventh of a quick command's time.
    gc.disable()
    from consumers.cli.main import main as run  # noqa: PLC0415 - only after the check

    run()


if __name__ == "__main__":
    main()
