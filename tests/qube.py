"""A render farm for tests: a folder of callbacks, a spool, and a supervisor that runs what is mapped in the folder."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from router.cluster.callbacks.qube.registrar import QubeRegistrar
from router.model.catalogue import load
from router.settings.models import QubeSettings
from tests.machine import make_spool

SUPERVISOR = Path(__file__).with_name("qube_supervisor.py")
CATALOGUE = load("qube")
WAYS = ("one", "split", "bound", "bound-split")


class Farm:
    """A supervisor's folder of callbacks in *folder*, with a spool beside it; nothing is registered yet."""

    def __init__(self, folder: Path, spool: Path | None = None, **settings: Any) -> None:
        self.callbacks = folder / "callback"
        self.callbacks.mkdir(mode=0o755)
        self.conf = self.callbacks / "callbacks.conf"
        self.log = folder / "clusterbus-qube.log"
        self.spool = spool or make_spool(folder / "spool")
        facts = {"callbacks": self.callbacks, "node": "super01", "log": self.log}
        self.settings = QubeSettings.model_validate(facts | settings)

    @property
    def registrar(self) -> QubeRegistrar:
        """What registers, by the settings as they are."""
        return QubeRegistrar(self.settings, CATALOGUE, self.spool)

    def set(self, **settings: Any) -> None:
        """Have other settings."""
        self.settings = QubeSettings.model_validate(self.settings.model_dump() | settings)

    def apply(self) -> list[str]:
        """Plan and apply; return the files that it was about, in order."""
        registrar = self.registrar
        return [each.file for each in registrar.apply(registrar.plan()).done]

    def remove(self) -> list[str]:
        """Remove all that is ours; return the files that it was about, in order."""
        registrar = self.registrar
        return [each.file for each in registrar.apply(registrar.removal()).done]

    def there(self) -> dict[str, bytes]:
        """Return what is in the folder."""
        return {each.name: each.read_bytes() for each in sorted(self.callbacks.iterdir())}

    def fire(self, *firings: str, python: str = sys.executable, before: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Have a supervisor with *python* inside run what WAY:BEHAVIOUR:TRIGGER map to; return what came of each."""
        # Beside the folder, where whatever user *before* makes of it may read it.
        supervisor = self.callbacks.parent / SUPERVISOR.name
        supervisor.write_bytes(SUPERVISOR.read_bytes())
        command = [*before, python, str(supervisor), str(self.callbacks), *firings]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        lines = ended.stdout.splitlines()
        assert (ended.returncode, lines[-1:]) == (0, ["alive"]), ended.stdout[-500:] + ended.stderr[-2000:]
        return [json.loads(each) | {"stderr": ended.stderr} for each in lines[:-1]]

    def records(self) -> list[dict[str, Any]]:
        """Return what is in the spool, in the order of capture."""
        return [json.loads(each.read_bytes()) for each in sorted((self.spool / "new").iterdir())]
