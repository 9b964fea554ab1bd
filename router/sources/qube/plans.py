"""From what is in a supervisor's folder of callbacks to what is wanted: files to write and remove, in order.  Pure.

New files first, `callbacks.conf` after them, what is not wanted any more last: whatever it is interrupted by, the
supervisor never has a line that maps a file which is not there, and what is left is a plan again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...catalogue import Catalogue
from ...sections import QubeSettings
from . import conf
from .scripts import Place, script
from .triggers import PREFIX, SUFFIX, Trigger, doubtful, wanted_triggers

MODE = 0o644
LEFTOVER = ".clusterbus-new."
"""How a file is called while it is written: what a kill leaves is not mapped, and is taken away by the next plan."""

_HEADER = b"# -*- coding: us-ascii -*-\n# clusterbus: "
_FLAGS = "qube,python,post,mail,dependency,auto_wrangling"


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is there; *link* is where it leads if it is a link, and *content* is of plain files only."""

    content: bytes = b""
    mode: int = MODE
    owner: int = 0
    link: str = ""
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Registered:
    """What is ours in the folder, by name, and `callbacks.conf`; *owner* is who our files are to belong to."""

    folder: str
    owner: int
    files: Mapping[str, Found] = field(default_factory=dict)
    conf: Found | None = None
    leftovers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The triggers that are wanted, and the files for them, by name."""

    triggers: tuple[Trigger, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One file to write or to remove, and why; *before* is what has to be there still, None for nothing.

    A file that is written anew keeps the mode and the owner that are given here.
    """

    action: Literal["write", "remove"]
    file: str
    why: str
    content: bytes = b""
    mode: int = MODE
    owner: int = 0
    before: Found | None = None

    def describe(self) -> str:
        """Return it for people."""
        return f"{self.action} {self.file}\n    since {self.why}"

    def as_dict(self) -> dict[str, object]:
        """Return it for programs."""
        said: dict[str, object] = {"step": self.action, "file": self.file, "why": self.why}
        return said | ({"content": self.content.decode("utf-8", "replace")} if self.action == "write" else {})


@dataclass(frozen=True, slots=True)
class Standing:
    """How one file stands: `good`, `missing`, `differs` or `unwanted`, and in what it differs."""

    file: str
    verdict: Literal["good", "missing", "differs", "unwanted"]
    trigger: str = ""
    event: str = ""
    differences: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return it for programs."""
        said = {"file": self.file, "verdict": self.verdict, "trigger": self.trigger, "event": self.event}
        return said | {"differences": list(self.differences)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, how each file stands, and what has to be known or done beside it."""

    steps: tuple[Step, ...]
    standings: tuple[Standing, ...] = ()
    notes: tuple[str, ...] = ()


def wanted(settings: QubeSettings, catalogue: Catalogue, place: Place) -> Wanted:
    """Return what *settings* ask for, with records put to *place*.  Raises SettingsError."""
    triggers = wanted_triggers(settings, catalogue)
    files = {each.file: script(each, place) for each in triggers}
    return Wanted(triggers, files, doubtful(triggers, catalogue))


def plan(wanted: Wanted, registered: Registered) -> Plan:
    """Return how to come from what is *registered* to what is *wanted*.  Raises ConfDamaged."""
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
    theirs = tuple(f"{name} has a name of ours but is not: it stays" for name, each in strays if not _is_ours(each))
    steps += step
    steps += [Step("remove", name, "it is not wanted any more", before=registered.files[name]) for name in ours]
    steps += [Step("remove", name, "an apply was killed while it wrote this") for name in registered.leftovers]
    unwanted = [Standing(name, "unwanted", differences=("it is not wanted any more",)) for name in ours]
    notes = (*wanted.doubts, *theirs, *(_notes(registered.folder) if steps else ()))
    return Plan(tuple(steps), (*standings, *mapping, *unwanted), notes)


def removal(registered: Registered) -> Plan:
    """Return how to take away all that is ours: the lines first, then the files.  Raises ConfDamaged."""
    made = plan(Wanted(), registered)
    said = (
        f"restart the supervisor: until then, it may still run what {registered.folder} had",
        "jobs that were submitted before may keep their callbacks: their records come until these jobs are through",
    )
    return Plan(made.steps, made.standings, said if made.steps else ())


def _notes(folder: str) -> tuple[str, ...]:
    return (
        f"set `supervisor_language_flags = {_FLAGS}` (125) in qb.conf: the default has no `python`, and says nothing",
        f"`supervisor_universal_callback_path` has to name {folder}, where that is not the default",
        "restart the supervisor: `qbadmin supervisor --reread` does not reread these",
        "jobs that are there already have no new callbacks: only those that are submitted from then on",
    )


def _standing(trigger: Trigger, content: bytes, registered: Registered) -> Standing:
    found = registered.files.get(trigger.file)
    if found is None:
        return Standing(trigger.file, "missing", trigger.expression, trigger.event, ("it is not there",))
    differences = tuple(_differences(found, content, MODE, registered.owner))
    verdict: Literal["good", "differs"] = "differs" if differences else "good"
    return Standing(trigger.file, verdict, trigger.expression, trigger.event, differences)


def _differences(found: Found, content: bytes, mode: int, owner: int) -> list[str]:
    if not found.plain:
        return [f"it is a link to {found.link}" if found.link else "it is no plain file"]
    checks: Sequence[tuple[bool, Callable[[], str]]] = (
        (found.content != content, lambda: "its content is another"),
        (found.mode != mode, lambda: f"its mode is {found.mode:04o}, not {mode:04o}"),
        (found.owner != owner, lambda: f"it belongs to user {found.owner}, not {owner}"),
    )
    return [say() for differs, say in checks if differs]


def _conf(triggers: tuple[Trigger, ...], registered: Registered) -> tuple[list[Standing], list[Step]]:
    """Return how `callbacks.conf` stands, and the step that it needs; its mode and owner stay the site's."""
    there = registered.conf or Found(b"", MODE, registered.owner)
    text = conf.merged(there.content, triggers)
    if text == there.content:
        return [Standing(conf.FILE, "good")] if triggers else [], []
    if not text:
        why = "nothing but our lines is in it"
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
    parts = (("it lacks", missing), ("it has still", unwanted), ("it has another trigger for", other))
    return "; ".join(f"{said} {', '.join(names)}" for said, names in parts if names) or "our lines in it were changed"


def _is_ours(found: Found) -> bool:
    return found.plain and found.content.startswith(_HEADER)


def has_our_name(name: str) -> bool:
    """Say whether a file of this *name* is one of ours."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX)
