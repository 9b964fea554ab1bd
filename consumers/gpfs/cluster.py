"""The cluster as objects: its nodes, file systems, snapshots and callbacks, and `.onEvent` of each.

What is read is read anew each time, by `-Y`.  Of what the seed's API changes, callbacks and snapshots are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.catalogue import EventType
from router.sources.gpfs.errors import NotUnderstood
from router.sources.gpfs.tables import Row, has_header, rows

from ..errors import did_you_mean
from .collected import Callbacks, Collection, Handlers
from .errors import CallbackError, NotThere
from .here import node as _node
from .site import site

_ON = "on"
_WHOLE = ("", "global", "-", "(undefined)")
"""What stands for the fileset of a snapshot of a whole file system: which of them is not known."""


class _WithEvents:
    """Something that events happen to: `.onMount` is the collection of callbacks of `mount`, in any case."""

    def _types(self) -> Mapping[str, EventType]:
        return site().catalogue.events

    def _handlers(self, event: EventType) -> Handlers:
        return Handlers(event)

    def _more(self) -> Mapping[str, str]:
        """Return what else is known of it, by name."""
        return {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a collection, or a text
        """Return the callbacks of an event, or what the cluster tells of this.  Raises AttributeError."""
        if name.startswith("_"):
            raise AttributeError(name)
        event = site().catalogue.get(name[len(_ON) :]) if name[:2].lower() == _ON else None
        if event is not None:
            if event.name not in self._types():
                raise AttributeError(f"{event.name} has no fsName, so it is of no file system: use Cluster().{name}")
            return self._handlers(event)
        more = self._more()
        if name in more:
            return more[name]
        known = [*more, *self._names_of_events()]
        raise AttributeError(f"{type(self).__name__} has no {name}{did_you_mean(name, known)}")

    def _names_of_events(self) -> list[str]:
        return [f"{_ON}{each[:1].upper()}{each[1:]}" for each in self._types()]

    def __dir__(self) -> list[str]:
        """Return what there is, for who explores it."""
        return [*super().__dir__(), *self._names_of_events()]


class Cluster(_WithEvents):
    """The cluster that this machine belongs to; its properties are those of mmlscluster."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.properties["clusterName"]

    @property
    def id(self) -> str:
        """Its number."""
        return self.properties["clusterId"]

    @property
    def properties(self) -> Mapping[str, str]:
        """What mmlscluster says of the cluster as a whole."""
        found = site().commands.table("mmlscluster", "-Y", section="clusterSummary")
        if not found:
            raise NotUnderstood("mmlscluster -Y has no section clusterSummary: is GPFS set up here?")
        return found[0].values

    def _more(self) -> Mapping[str, str]:
        return self.properties

    @property
    def nodes(self) -> Nodes:
        """Its nodes."""
        return Nodes()

    @property
    def filesystems(self) -> Filesystems:
        """Its file systems."""
        return Filesystems()

    @property
    def callbacks(self) -> Callbacks:
        """All callbacks."""
        return Callbacks()

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class Node(_WithEvents):
    """A node, by a name or address; `localhost` is the one that we are on.  Raises NotThere."""

    def __init__(self, name: str) -> None:
        """Look it up in the cluster's own list."""
        self._member = _node(site(), name)

    @property
    def name(self) -> str:
        """Its short name, as events have it."""
        return self._member.name

    node_name = name
    """What a callback's list of nodes takes it by."""

    @property
    def properties(self) -> Mapping[str, str]:
        """What mmlscluster says of it."""
        for row in site().commands.table("mmlscluster", "-Y", section="clusterNode"):
            if row.values.get("adminNodeName") == self._member.admin_name:
                return row.values
        raise NotThere("node", self.name)

    def _more(self) -> Mapping[str, str]:
        return self.properties

    def _handlers(self, event: EventType) -> Handlers:
        return Handlers(event, node_name=self.name)

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class Nodes(Collection[Node]):
    """The nodes of the cluster, by any of their names."""

    what = "node"

    def _found(self) -> dict[str, Node]:
        return {each.name: _made(each.name) for each in site().members()}

    def __getitem__(self, name: str) -> Node:
        """Return the node of that name or address."""
        return Node(name)


class Filesystem(_WithEvents):
    """A file system, by its device; its properties are those of mmlsfs."""

    def __init__(self, name: str) -> None:
        """Take the device *name*; it is looked up when something is asked of it."""
        self._name = name.removeprefix("/dev/")

    @property
    def name(self) -> str:
        """Its device, as `fsName` of events has it."""
        return self._name

    @property
    def properties(self) -> Mapping[str, str]:
        """What mmlsfs says of it, by the attribute's name."""
        found = _file_systems()
        if self._name not in found:
            raise NotThere("file system", self._name, found)
        return found[self._name]

    @property
    def snapshots(self) -> Snapshots:
        """Its snapshots."""
        return Snapshots(self._name)

    def _types(self) -> Mapping[str, EventType]:
        return {name: each for name, each in site().catalogue.events.items() if "fsName" in each.variables}

    def _more(self) -> Mapping[str, str]:
        return self.properties

    def _handlers(self, event: EventType) -> Handlers:
        # A name that is none would never be called for.
        _ = self.properties
        return Handlers(event, file_system=self._name)

    def change(self, **_: object) -> None:
        """Raise: file systems are not changed here."""
        raise CallbackError(f"{self._name}: file systems are not changed here; use mmchfs")

    def __str__(self) -> str:
        """Return the device."""
        return self._name


class Filesystems(Collection[Filesystem]):
    """The file systems of the cluster."""

    what = "file system"

    def _found(self) -> dict[str, Filesystem]:
        return {name: Filesystem(name) for name in _file_systems()}


class Snapshot:
    """A snapshot of *file_system*, or of a fileset of it; *properties* are those of mmlssnapshot."""

    def __init__(self, file_system: str, name: str, properties: Mapping[str, str]) -> None:
        """Hold what is known of it."""
        self.filesystem, self.name, self.properties = file_system, name, dict(properties)

    @property
    def fileset(self) -> str:
        """The fileset that it is of, empty for a whole file system."""
        found = self.properties.get("fileset", "")
        return "" if found in _WHOLE else found

    def delete(self) -> None:
        """Delete it.  Raises CommandFailed."""
        of_fileset = ["-j", self.fileset] if self.fileset else []
        site().commands.change("mmdelsnapshot", self.filesystem, self.name, *of_fileset)

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    def __repr__(self) -> str:
        """Return what it is, for people."""
        return f"Snapshot({self.filesystem!r}, {self.name!r})"


class Snapshots(Collection[Snapshot]):
    """The snapshots of one file system; one of a fileset is known as `fileset:name`."""

    what = "snapshot"

    def __init__(self, file_system: str) -> None:
        """Hold those of *file_system*."""
        self._file_system = file_system

    def _found(self) -> dict[str, Snapshot]:
        made = [
            Snapshot(self._file_system, row.values.get("directory", ""), row.values)
            for row in _table("mmlssnapshot", self._file_system, "-Y", empty="no snapshots")
        ]
        return {f"{each.fileset}:{each.name}" if each.fileset else each.name: each for each in made}

    def new(self, name: str) -> Snapshot:
        """Take a snapshot of the whole file system, and return it.  Raises CommandFailed."""
        site().commands.change("mmcrsnapshot", self._file_system, name)
        return Snapshot(self._file_system, name, {})

    def destroy(self, snapshot: Snapshot | str) -> None:
        """Delete a snapshot, by itself or by its name.  Raises NotThere and CommandFailed."""
        (self[snapshot] if isinstance(snapshot, str) else snapshot).delete()


def _made(name: str) -> Node:
    return Node(name)


def _file_systems() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for row in _table("mmlsfs", "all", "-Y", empty="no file systems"):
        own = found.setdefault(row.values.get("deviceName", ""), {})
        own.setdefault(row.values.get("fieldName", ""), row.values.get("data", ""))
    return found


def _table(*words: str, empty: str) -> list[Row]:
    """Return the rows that the command prints; it may say in words that there are none."""
    text = site().commands.read(*words)
    if not has_header(text) and text.strip() and empty not in text.lower():
        raise NotUnderstood(f"{' '.join(words)} prints no table: does this release have -Y for it?")
    return rows(text)
