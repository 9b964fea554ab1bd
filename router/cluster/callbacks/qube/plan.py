"""The plan from a supervisor's callback folder to the wanted files: what to write and remove, in order.  Pure.

New files come first, then `callbacks.conf`, then the removal of unwanted files.  So after any interruption, no line
maps a missing file, and the next plan contains the remaining steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ....model.catalogue import Catalogue
from ....settings.models import QubeSettings
from . import conf
from .scripts import Place, script
from .triggers import PREFIX, SUFFIX, Trigger, trigger_warnings, wanted_triggers

MODE = 0o644
LEFTOVER = ".clusterbus-new."
"""The prefix of a file while it is written: a file left by a kill is not mapped, and the next plan removes it."""

_HEADER = b"# -*- coding: us-ascii -*-\n# clusterbus: "
_FLAGS = "qube,python,post,mail,dependency,auto_wrangling"


@dataclass(frozen=True, slots=True)
class Found:
    """A file in the folder; *link* is the target if it is a link; only plain files have *content*."""

    content: bytes = b""
    mode: int = MODE
    owner: int = 0
    link: str = ""
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Registered:
    """Our *files* in the folder by name, and `callbacks.conf`; *owner* is the user that our files must belong to."""

    folder: str
    owner: int
    files: Mapping[str, Found] = field(default_factory=dict)
    conf: Found | None = None
    leftovers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted triggers, and their files by name."""

    triggers: tuple[Trigger, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One file to write or to remove, and why; *before* is the file that must still exist, or None.

    A written file gets *mode* and *owner*.
    """

    action: Literal["write", "remove"]
    file: str
    why: str
    content: bytes = b""
    mode: int = MODE
    owner: int = 0
    before: Found | None = None

    def describe(self) -> str:
        """Return the step as text for people."""
        return f"{self.action} {self.file}\n    because {self.why}"

    def as_dict(self) -> dict[str, object]:
        """Return the step as a JSON object."""
        facts: dict[str, object] = {"step": self.action, "file": self.file, "why": self.why}
        return facts | ({"content": self.content.decode("utf-8", "replace")} if self.action == "write" else {})


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one file, `good`, `missing`, `differs` or `unwanted`, and its differences."""

    file: str
    verdict: Literal["good", "missing", "differs", "unwanted"]
    trigger: str = ""
    event: str = ""
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to do, the state of each file, and *notes* for the person who runs it."""

    steps: tuple[Step, ...]
    standings: tuple[Standing, ...] = ()
    notes: tuple[str, ...] = ()


def wanted(settings: QubeSettings, catalogue: Catalogue, place: Place) -> Wanted:
    """Return the triggers and files for *settings*; the files store records in *place*.  Raises SettingsError."""
    triggers = wanted_triggers(settings, catalogue)
    files = {each.file: script(each, place) for each in triggers}
    return Wanted(triggers, files, trigger_warnings(triggers, catalogue))


def plan(wanted: Wanted, registered: Registered) -> Plan:
    """Return the plan from *registered* to *wanted*.  Raises ConfDamaged."""
    standings = [_standing(each, wanted.files[each.file], registered) for each in wanted.triggers]
    steps = [
        Step(
            "write",
            each.file,
            each.differences[0],
            wanted.files[each.file],
            owner=registered.owner,
            before=registered.files.get(each.file),
        )
        for each in standings
        if each.verdict != "good"
    ]
    mapping, step = _conf(wanted.triggers, registered)
    strays = [(name, each) for name, each in sorted(registered.files.items()) if name not in wanted.files]
    ours = [name for name, each in strays if _is_ours(each)]
    theirs = tuple(
        f"{name} has a name like ours, but is not ours: it stays" for name, each in strays if not _is_ours(each)
    )
    steps += step
    steps += [Step("remove", name, "it is no longer wanted", before=registered.files[name]) for name in ours]
    steps += [Step("remove", name, "an apply was killed while it wrote this file") for name in registered.leftovers]
    unwanted = [Standing(name, "unwanted", differences=("it is no longer wanted",)) for name in ours]
    notes = (*wanted.warnings, *theirs, *(_notes(registered.folder) if steps else ()))
    return Plan(tuple(steps), (*standings, *mapping, *unwanted), notes)


def removal(registered: Registered) -> Plan:
    """Return the plan that removes all that is ours: first the lines, then the files.  Raises ConfDamaged."""
    made = plan(Wanted(), registered)
    notes = (
        f"restart the supervisor: until then, it may still run the removed files of {registered.folder}",
        "jobs submitted earlier may keep their callbacks and send records until they finish",
    )
    return Plan(made.steps, made.standings, notes if made.steps else ())


def _notes(folder: str) -> tuple[str, ...]:
    return (
        f"set `supervisor_language_flags = {_FLAGS}` (125) in qb.conf: the default lacks `python`, so nothing runs",
        f"set `supervisor_universal_callback_path` to {folder} in qb.conf, unless that is the default",
        "restart the supervisor: `qbadmin supervisor --reread` does not reload these settings",
        "only jobs submitted after the restart get the new callbacks",
    )


def _standing(trigger: Trigger, content: bytes, registered: Registered) -> Standing:
    found = registered.files.get(trigger.file)
    if found is None:
        return Standing(trigger.file, "missing", trigger.expression, trigger.event, ("it does not exist",))
    differences = tuple(_differences(found, content, MODE, registered.owner))
    verdict: Literal["good", "differs"] = "differs" if differences else "good"
    return Standing(trigger.file, verdict, trigger.expression, trigger.event, differences)


def _differences(found: Found, content: bytes, mode: int, owner: int) -> list[str]:
    if not found.plain:
        return [f"it is a link to {found.link}" if found.link else "it is not a regular file"]
    checks: Sequence[tuple[bool, Callable[[], str]]] = (
        (found.content != content, lambda: "its content differs"),
        (found.mode != mode, lambda: f"its mode is {found.mode:04o}, not {mode:04o}"),
        (found.owner != owner, lambda: f"it belongs to user {found.owner}, not {owner}"),
    )
    return [text() for differs, text in checks if differs]


def _conf(triggers: tuple[Trigger, ...], registered: Registered) -> tuple[list[Standing], list[Step]]:
    """Return the state of `callbacks.conf` and the step that it needs; its mode and owner are preserved."""
    there = registered.conf or Found(b"", MODE, registered.owner)
    text = conf.merged(there.content, triggers)
    if text == there.content:
        return [Standing(conf.FILE, "good")] if triggers else [], []
    if not text:
        why = "it contains only our lines"
        return [Standing(conf.FILE, "differs", differences=(why,))], [
            Step("remove", conf.FILE, why, before=registered.conf)
        ]
    why = _drift(conf.mapped(there.content), {each.file: each.expression for each in triggers})
    step = Step("write", conf.FILE, why, text, there.mode, there.owner, registered.conf)
    return [Standing(conf.FILE, "differs" if registered.conf else "missing", differences=(why,))], [step]


def _drift(there: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    missing = [each for each in wanted if each not in there]
    unwanted = [each for each in there if each not in wanted]
    other = [each for each in wanted if each in there and there[each] != wanted[each]]
    parts = (("it lacks", missing), ("it still has", unwanted), ("it has a different trigger for", other))
    return "; ".join(f"{text} {', '.join(names)}" for text, names in parts if names) or "our lines in it were changed"


def _is_ours(found: Found) -> bool:
    return found.plain and found.content.startswith(_HEADER)


def has_our_name(name: str) -> bool:
    """Return whether *name* has the form of our files' names."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)
