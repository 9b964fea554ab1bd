"""Installs the shim on nodes, removes it, and reports its state; on all nodes in parallel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ...errors import SettingsError
from ...model.node_words import word_of, words_of
from ...settings.models import NodesSettings
from ..fleet.node_sets import fold
from ..fleet.runner import Answer, ask
from . import capture_script, relay_settings
from .capture_script import COMMAND
from .credentials import FOLDER, GROUP, credentials
from .errors import Unprepared
from .files import File, part
from .node_status import Finding, by_error, by_reason, by_trouble, by_warning, finding_of, unprepared
from .release import BOOT, Release, release, sent_program

OnFinding = Callable[[Finding], None]
"""Called with the finding of each node."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """The result by node: *done* were changed, *unchanged* were already good, *failed* were left untouched.

    Of those that are good, the relay may be without a connection to the broker: `unconnected`.
    """

    done: Mapping[str, Finding]
    unchanged: Mapping[str, Finding]
    failed: Mapping[str, Finding]

    def facts(self) -> dict[str, object]:
        """Return the result as a JSON object, by node set."""
        return {
            "done": fold(self.done),
            "unchanged": fold(self.unchanged),
            "failed": by_reason(self.failed.values()),
            "unconnected": self.unconnected(),
            "warnings": self.warnings(),
        }

    def unconnected(self) -> list[dict[str, str]]:
        """Return why relays do not send, each with its node set."""
        return by_trouble((*self.done.values(), *self.unchanged.values()))

    def warnings(self) -> list[dict[str, str]]:
        """Return the warnings about all nodes, and what is lost there, each with its node set."""
        found = (*self.done.values(), *self.unchanged.values(), *self.failed.values())
        return by_error(found) + by_warning(found)


class Deployment:
    """Deploys the shim of one release to nodes, as the settings configure it."""

    def __init__(
        self, settings: NodesSettings, on_finding: OnFinding = lambda _: None, of: Release | None = None
    ) -> None:
        """Reach nodes by *settings*; *on_finding* is called with each node's finding when it is final.

        Raises SettingsError if *settings* cannot be used, and NodesError if the shim's files are incomplete.
        """
        if (settings.transport == "local") != bool(settings.root) or "{node}" not in (settings.root or "{node}"):
            raise SettingsError(
                f"nodes.root is {settings.root!r}: set a folder that contains {{node}} for transport local,"
                " and leave it out for ssh"
            )
        self._settings, self._on_finding = settings, on_finding
        self._release = of or release(python=settings.python)

    def survey(self, names: Sequence[str]) -> dict[str, Finding]:
        """Return the state of the shim on each of *names* without changes.  Raises SettingsError and RoundLost.

        A node with the package is compared with it, and without `relay` in the settings, each node.
        """
        own = self._prepared(names) if self._settings.relay else {name: [] for name in words_of(names)}
        return self._round("status", own, self._on_finding)

    def deploy(self, names: Sequence[str]) -> Deployed:
        """Install what differs on each of *names*; leave the others untouched.  Raises as `survey`."""
        own = self._prepared(names)
        # Findings on good and unreachable nodes are final here; the others are reported after the installation.
        found = self._round("status", own, lambda each: None if each.differs else self._on_finding(each))
        unchanged = {name: each for name, each in found.items() if each.good}
        failed = {name: each for name, each in found.items() if each.failed}
        todo = {name: files for name, files in own.items() if name in found.keys() - unchanged.keys() - failed.keys()}
        sent = {path for name in todo for path, _ in found[name].differs}
        given = self._round("install", todo, self._on_finding, sent)
        failed.update({name: each for name, each in given.items() if not each.good})
        done = {name: each for name, each in given.items() if each.good}
        return Deployed(done, unchanged, {name: failed[name] for name in names if name in failed})

    def remove(self, names: Sequence[str]) -> Deployed:
        """Remove what was installed on *names*.  Raises as `survey`."""
        # The node's own list of installed files is enough.  Our list adds files that a killed run did not record there.
        try:
            own = {name: [] if isinstance(each, Unprepared) else each for name, each in self._prepared(names).items()}
        except SettingsError:
            own = {name: [] for name in words_of(names)}
        found = self._round("remove", own, self._on_finding)
        done = {name: each for name, each in found.items() if each.did and not each.failed}
        failed = {name: each for name, each in found.items() if each.failed}
        return Deployed(done, {name: each for name, each in found.items() if name not in {*done, *failed}}, failed)

    def _prepared(self, names: Sequence[str]) -> dict[str, list[File] | Unprepared]:
        """Return the node-specific files for each of *names*, or why they cannot be made."""
        if not names:
            raise SettingsError("no nodes are named: name at least one node")
        relay = relay_settings.checked(self._settings.relay)
        found: dict[str, list[File] | Unprepared] = {}
        for name, word in words_of(names).items():
            try:
                found[name] = self._own(word, self._root(name), relay)
            except Unprepared as error:
                found[name] = error
        return found

    def _packaged(self) -> File:
        """Return what a package installs in place of each node's own files."""
        script = capture_script.written(self._release.script, str(self._settings.python), [])
        return File(COMMAND, script.encode(), 0o755)

    def _own(self, word: str, root: str, wanted: Mapping[str, str]) -> list[File]:
        secrets = credentials(self._settings.secrets / word)
        relay = {**{setting: f"{root}{file.path}" for setting, file in secrets.items()}, **wanted}
        # A folder that stands for a node has its own spool.
        places = {"spool": f"{root}/var/spool/clusterbus", "run": f"{root}/run/clusterbus"} if root else {}
        options = ["--node", word, *(["--spool", places["spool"]] if root else [])]
        script = capture_script.written(self._release.script, str(self._settings.python), options)
        return [
            *secrets.values(),
            File(f"{FOLDER}/relay.conf", relay_settings.text(relay, word, places).encode(), 0o640, group=GROUP),
            # Last: from now on records are captured.
            File(COMMAND, script.encode(), 0o755),
        ]

    def _round(
        self,
        mode: str,
        own: Mapping[str, list[File] | Unprepared],
        on_finding: OnFinding,
        sent: Collection[str] = (),
    ) -> dict[str, Finding]:
        found = {name: unprepared(name, str(files)) for name, files in own.items() if isinstance(files, Unprepared)}
        for each in found.values():
            on_finding(each)
        files = {name: each for name, each in own.items() if not isinstance(each, Unprepared)}
        if not files:
            return found

        def answered(answer: Answer) -> None:
            found[answer.node] = finding_of(answer)
            on_finding(found[answer.node])

        header = self._release.header(mode) | {"packaged": [self._packaged().facts()]}
        ask(
            list(files),
            [*self._settings.become, str(self._settings.python), "-IS", "-c", BOOT],
            self._settings,
            shared=sent_program(self._release.installer) + part(header, self._release.files, sent),
            own={name: part({"node": name, "root": self._root(name)}, each, sent) for name, each in files.items()},
            on_answer=answered,
        )
        return {name: found[name] for name in own}

    def _root(self, name: str) -> str:
        return self._settings.root.replace("{node}", word_of(name))
