"""Brings a supervisor's folder of callbacks to what is wanted, and stands a kill at any moment.

Nothing is kept of what was begun: each time it is looked at anew.
"""

import os
import pwd
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...catalogue import Catalogue
from ...sections import QubeSettings
from . import conf
from .errors import Changed
from .folder import Folder
from .plans import Plan, Registered, Standing, Step, plan, removal, wanted
from .scripts import Place
from .triggers import wanted_triggers

Tell = Callable[[Step], object]
"""Is told each step before it is done."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What was *done*, and what the supervisor still needs for it to count."""

    done: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    good: ClassVar = True
    """What could not be done was raised."""

    problems: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How each file stands, and what is wrong beside them."""

    standings: tuple[Standing, ...]
    problems: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether all is as it is wanted."""
        return not self.problems and all(each.verdict == "good" for each in self.standings)


@dataclass(frozen=True, slots=True)
class Shown:
    """A callback as `callbacks.conf` has it: the *file* that runs on a *trigger*, and the *event* that it becomes."""

    file: str
    trigger: str
    event: str | None

    def as_dict(self) -> dict[str, object]:
        """Return it for programs."""
        return {"file": self.file, "trigger": self.trigger, "event": self.event}


class QubeRegistrar:
    """Registers with the Qube supervisor of this machine, by the settings; records go to *spool*."""

    def __init__(self, settings: QubeSettings, catalogue: Catalogue, spool: Path) -> None:
        """Only take note of these."""
        self._settings, self._catalogue = settings, catalogue
        self._place = Place(spool, settings.node, settings.log)
        self._folder = Folder(settings.callbacks, settings.owner)

    def registered(self) -> Registered:
        """Return what is ours in the folder.  Raises QubeError and SettingsError."""
        return self._folder.registered()

    def plan(self) -> Plan:
        """Return what is to be done.  Raises QubeError and SettingsError."""
        return self._plan(self.registered())

    def _plan(self, registered: Registered) -> Plan:
        return plan(wanted(self._settings, self._catalogue, self._place), registered)

    def removal(self) -> Plan:
        """Return how to take away all that is ours; `apply` does it.  Raises QubeError and SettingsError."""
        return removal(self.registered())

    def apply(self, wanted: Plan, tell: Tell = lambda _: None) -> Applied:
        """Do what *wanted* says, each step told before it is done.

        Raises Changed where a file is no more as it was for the plan, other QubeErrors, and SettingsError.
        """
        with self._folder.locked() as held:
            now = self.registered()
            if wanted.steps != removal(now).steps and wanted.steps != self._plan(now).steps:
                raise Changed(
                    f"{self._settings.callbacks}: what is there, or wanted, has changed since the plan was made:"
                    " look at a new one"
                )
            for step in wanted.steps:
                tell(step)
                held.do(step)
        return Applied(wanted.steps, wanted.notes)

    def status(self) -> Status:
        """Return how each file stands, and whether records have a place to go.  Raises QubeError and SettingsError."""
        registered = self.registered()
        now = self._plan(registered)
        leftovers = tuple(f"{each} is left of an apply that was killed: apply again" for each in registered.leftovers)
        return Status(now.standings, leftovers + _spool_problems(self._place.spool, registered.owner))

    def show(self) -> list[Shown]:
        """Return what our lines in `callbacks.conf` say.  Raises QubeError and SettingsError."""
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
            return (f"{folder}: {error.strerror}; the relay of this machine makes it when it starts",)
        if not stat.S_ISDIR(status.st_mode):
            return (f"{folder} is no folder",)
        if folder == spool and (status.st_uid not in {0, owner} or status.st_mode & 2):
            return (f"{folder} has to belong to root, and not everyone may write it: callbacks use no other",)
        if not _may_write(status, owner):
            return (f"{folder}: user {owner}, whom the supervisor runs as, can't write it: add that user to its group",)
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
