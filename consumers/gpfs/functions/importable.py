"""The modules that a consumer can import: installed ones, the standard library, and folders of `consumers.handlers`."""

from __future__ import annotations

import site
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

OURS = frozenset(("consumers", "router", "shim"))


class Importables:
    """Decides which modules a consumer can import, assuming that it runs the same Python."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Include the modules in *folders*."""
        self._folders = tuple(each.absolute() for each in folders)

    def has(self, name: str) -> bool:
        """Return whether a consumer would import the same module *name* that is loaded here.

        >>> Importables([]).has("os.path"), Importables([]).has("__main__")
        (True, False)
        """
        module = sys.modules.get(name)
        top = name.partition(".")[0]
        if module is None or top in ("__main__", "__mp_main__"):
            return False
        if top in OURS or top in sys.builtin_module_names or top in sys.stdlib_module_names:
            return True
        file = getattr(module, "__file__", None)
        if file is None:
            return False
        place = Path(file).absolute()
        return self._in_folders(place, name) or any(place.is_relative_to(each) for each in _places())

    def reference(self, function: Any) -> str | None:  # noqa: ANN401 - any callable
        """Return `module:function` if a consumer finds *function* by that name, else None."""
        name, qualified = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
        if not isinstance(name, str) or "<" in qualified or not qualified or not self.has(name):
            return None
        found: Any = sys.modules[name]
        for part in qualified.split("."):
            found = getattr(found, part, None)
        return f"{name}:{qualified}" if found is function else None

    def where(self) -> str:
        """Return the folders where a module can be, as text."""
        return " or ".join(map(str, self._folders)) or "a folder of consumers.handlers"

    def _in_folders(self, place: Path, name: str) -> bool:
        parts = name.split(".")
        ends = (Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py"))
        return any(place == folder / end for folder in self._folders for end in ends)


@cache
def _places() -> tuple[Path, ...]:
    # Editable installs are not included, since a consumer may not have them.
    return tuple({Path(each) for each in (*map(sysconfig.get_path, ("purelib", "platlib")), *site.getsitepackages())})
