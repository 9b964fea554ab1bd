"""Changes a supervisor's callback folder to the wanted files; safe to kill at any moment.

No progress is stored: each run reads the folder again and makes a new plan.
"""

import os
import pwd
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ....model.catalogue import Catalogue
from ....settings.models import QubeSettings
from . import conf
from .errors import Changed
from .folder import Folder
from .plan import Plan, Registered, Standing, Step, plan, removal, wanted
from .scripts import Place
from .triggers import wanted_triggers

Tell = Callable[[Step], object]
"""Called with each step before it is done."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The steps *done*, and *notes* on what a person must still do on the supervisor."""

    done: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    good: ClassVar = True
    """Always true: `apply` raises if a step fails."""

    problems: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The state of each file, and other problems."""

    standings: tuple[Standing, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of `callbacks.conf`: the *file* that runs on a *trigger*, and the *event* that it captures."""

    file: str
    trigger: str
    event: str | None

    def as_dict(self) -> dict[str, object]:
        """Return the line as a JSON object."""
        return {"file": self.file, "trigger": self.trigger, "event": self.event}


class QubeRegistrar:
    """Registers callbacks with the Qube supervisor of this machine; records go to *spool*."""

    def __init__(self, settings: QubeSettings, catalogue: Catalogue, spool: Path) -> None:
        """Use *settings*, *catalogue* and *spool*; nothing is read or written yet."""
        self._settings, self._catalogue = settings, catalogue
        self._place = Place(spool, settings.node, settings.log)
        self._folder = Folder(settings.callbacks, settings.owner)

    def registered(self) -> Registered:
        """Return our files in the folder.  Raises QubeError and SettingsError."""
        return self._folder.registered()

    def plan(self) -> Plan:
        """Return the steps to do.  Raises QubeError and SettingsError."""
        return self._plan(self.registered())

    def _plan(self, registered: Registered) -> Plan:
        return plan(wanted(self._settings, self._catalogue, self._place), registered)

    def removal(self) -> Plan:
        """Return the plan that removes all our files; execute it with `apply`.  Raises QubeError and SettingsError."""
        return removal(self.registered())

    def apply(self, wanted: Plan, tell: Tell = lambda _: None) -> Applied:
        """Execute *wanted*; *tell* is called with each step before it is done.

        Raises Changed if a file changed since the plan was made, other QubeErrors, and SettingsError.
        """
        with self._folder.locked() as held:
            now = self.registered()
            if wanted.steps != removal(now).steps and wanted.steps != self._plan(now).steps:
                raise Changed(
                    f"{self._settings.callbacks}: the folder or the settings have changed since the plan was made:"
                    " run `clusterbus callbacks --source qube plan` again"
                )
            for step in wanted.steps:
                tell(step)
                held.do(step)
        return Applied(wanted.steps, wanted.notes)

    def status(self) -> Status:
        """Return the state of each file and of the spool.  Raises QubeError and SettingsError."""
        registered = self.registered()
        now = self._plan(registered)
        leftovers = tuple(f"{each} is left over from a killed apply: run apply again" for each in registered.leftovers)
        return Status(now.standings, leftovers + _spool_problems(self._place.spool, registered.owner))

    def show(self) -> list[Shown]:
        """Return our lines in `callbacks.conf`.  Raises QubeError and SettingsError."""
        found = self.registered().conf
        everything = self._settings.model_copy(update={"events": tuple(self._catalogue.categories), "without": ()})
        known = {each.file: each.event for each in wanted_triggers(everything, self._catalogue)}
        lines = conf.mapped(found.content) if found else {}
        return [Shown(file, trigger, known.get(file)) for file, trigger in lines.items()]


def _spool_problems(spool: Path, owner: int) -> tuple[str, ...]:
    """Return why the user *owner* could not put records into *spool*."""
    for folder in (spool, spool / "tmp", spool / "new"):
        try:
            status = folder.lstat()
        except OSError as error:
            return (f"{folder}: {error.strerror}; start the relay of this machine, which creates it",)
        if not stat.S_ISDIR(status.st_mode):
            return (f"{folder} is not a folder: remove it, and restart the relay, which creates the folder",)
        if folder == spool and (status.st_uid not in {0, owner} or status.st_mode & 2):
            return (f"{folder} must belong to root and must not be writable by everyone, or callbacks refuse it",)
        if not _may_write(status, owner):
            return (f"{folder}: the supervisor's user {owner} cannot write it: add that user to the folder's group",)
    return ()


def _may_write(status: os.stat_result, user: int) -> bool:
    if user == 0:
        return True
    if status.st_uid == user:
        return bool(status.st_mode & stat.S_IWUSR)
    try:
        known = pwd.getpwuid(user)
    except KeyError:
        return False
    groups = os.getgrouplist(known.pw_name, known.pw_gid)
    return status.st_gid in groups and bool(status.st_mode & stat.S_IWGRP)
