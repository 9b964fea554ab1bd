"""Puts the shim on nodes, takes it away, and says how it is there; each over all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ..errors import SettingsError
from ..fleet.node_sets import fold
from ..fleet.rounds import Answer, Reach, ask
from ..sections import NodesSettings
from ..sources.gpfs import capturing
from ..sources.gpfs.registrations import COMMAND
from . import relay_settings
from .credentials import FOLDER, GROUP, credentials
from .errors import Unprepared
from .files import File, part
from .findings import Finding, by_reason, finding_of, unprepared
from .names import word_of, words_of
from .release import Release, release

_BOOT = "import sys;i=sys.stdin.buffer;exec(compile(i.read(int(i.readline())),'installer','exec'))"
"""What the node's Python is started with: the program comes on stdin, as everything does that is sent."""

Told = Callable[[Finding], None]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What became of nodes: *done* now, *unchanged* since they were good, *failed* and as they were before."""

    done: Mapping[str, Finding]
    unchanged: Mapping[str, Finding]
    failed: Mapping[str, Finding]

    def facts(self) -> dict[str, object]:
        """Return it by node sets, as a JSON object."""
        return {"done": fold(self.done), "unchanged": fold(self.unchanged), "failed": by_reason(self.failed.values())}


class Deployment:
    """The shim of one release on nodes, as the settings say."""

    def __init__(self, settings: NodesSettings, told: Told = lambda _: None, of: Release | None = None) -> None:
        """Reach nodes by *settings*; *told* is called with each node's finding when it is final.

        Raises SettingsError where they can't be used, NodesError where the shim is not whole.
        """
        if (settings.transport == "local") != bool(settings.root) or "{node}" not in (settings.root or "{node}"):
            raise SettingsError(
                f"nodes.root is {settings.root!r}: transport local needs a folder with {{node}} in it, ssh none"
            )
        self._settings, self._told = settings, told
        self._release = of or release(python=settings.python)
        self._reach = Reach(
            settings.transport,
            settings.fanout,
            settings.timeout,
            settings.connect_timeout,
            settings.ssh,
            settings.ssh_options,
        )

    def survey(self, names: Sequence[str]) -> dict[str, Finding]:
        """Return how the shim is on each of *names*; nothing is changed.  Raises SettingsError and RoundLost.

        Where the settings have no `relay`, the shim is not ours to configure: then as a package puts it there is good.
        """
        if not self._settings.relay:
            return self._round("status", self._packaged(names), self._told, packaged=True)
        return self._survey(self._prepared(names), self._told)

    def deploy(self, names: Sequence[str]) -> Deployed:
        """Put on *names* what differs, and nothing on those where nothing does.  Raises as `survey`."""
        own = self._prepared(names)
        # Those that are good or can't be asked are through with this; the others are told of when they have it.
        found = self._survey(own, lambda each: None if each.differs else self._told(each))
        unchanged = {name: each for name, each in found.items() if each.good}
        failed = {name: each for name, each in found.items() if each.failed}
        todo = {name: files for name, files in own.items() if name in found.keys() - unchanged.keys() - failed.keys()}
        sent = {path for name in todo for path, _ in found[name].differs}
        given = self._round("install", todo, self._told, sent)
        failed.update({name: each for name, each in given.items() if not each.good})
        done = {name: each for name, each in given.items() if each.good}
        return Deployed(done, unchanged, {name: failed[name] for name in names if name in failed})

    def remove(self, names: Sequence[str]) -> Deployed:
        """Take away from *names* what was put there.  Raises as `survey`."""
        # What is known there of what was put there is enough; the rest finds what a kill kept from being noted there.
        try:
            own = {name: [] if isinstance(each, Unprepared) else each for name, each in self._prepared(names).items()}
        except SettingsError:
            own = {name: [] for name in words_of(names)}
        found = self._round("remove", own, self._told)
        done = {name: each for name, each in found.items() if each.did and not each.failed}
        failed = {name: each for name, each in found.items() if each.failed}
        return Deployed(done, {name: each for name, each in found.items() if name not in {*done, *failed}}, failed)

    def _survey(self, own: Mapping[str, list[File] | Unprepared], told: Told) -> dict[str, Finding]:
        return self._round("status", own, told)

    def _prepared(self, names: Sequence[str]) -> dict[str, list[File] | Unprepared]:
        """Return what each of *names* gets of its own, or why it can't."""
        if not names:
            raise SettingsError("no nodes are named: an empty node set would be nobody, or this machine")
        relay = relay_settings.checked(self._settings.relay)
        found: dict[str, list[File] | Unprepared] = {}
        for name, word in words_of(names).items():
            try:
                found[name] = self._own(word, self._root(name), relay)
            except Unprepared as error:
                found[name] = error
        return found

    def _packaged(self, names: Sequence[str]) -> dict[str, list[File] | Unprepared]:
        """Return what a package puts on each of *names* beside what is the same everywhere."""
        script = capturing.written(self._release.script, str(self._settings.python), [])
        return {name: [File(COMMAND, script.encode(), 0o755)] for name in words_of(names)}

    def _own(self, word: str, root: str, wanted: Mapping[str, str]) -> list[File]:
        secrets = credentials(self._settings.secrets / word)
        relay = {**{setting: f"{root}{file.path}" for setting, file in secrets.items()}, **wanted}
        # In a folder in the node's stead, what is in it keeps to it.
        places = {"spool": f"{root}/var/spool/clusterbus", "run": f"{root}/run/clusterbus"} if root else {}
        options = ["--node", word, *(["--spool", places["spool"]] if root else [])]
        script = capturing.written(self._release.script, str(self._settings.python), options)
        return [
            *secrets.values(),
            File(f"{FOLDER}/relay.conf", relay_settings.text(relay, word, places).encode(), 0o640, group=GROUP),
            # Last: from then on records come.
            File(COMMAND, script.encode(), 0o755),
        ]

    def _round(
        self,
        mode: str,
        own: Mapping[str, list[File] | Unprepared],
        told: Told,
        sent: Collection[str] = (),
        *,
        packaged: bool = False,
    ) -> dict[str, Finding]:
        found = {name: unprepared(name, str(files)) for name, files in own.items() if isinstance(files, Unprepared)}
        for each in found.values():
            told(each)
        files = {name: each for name, each in own.items() if not isinstance(each, Unprepared)}
        if not files:
            return found

        def answered(answer: Answer) -> None:
            found[answer.node] = finding_of(answer)
            told(found[answer.node])

        program, header = self._release.installer, self._release.header(mode) | {"packaged": packaged}
        ask(
            list(files),
            [*self._settings.become, str(self._settings.python), "-IS", "-c", _BOOT],
            self._reach,
            shared=b"%d\n" % len(program) + program + part(header, self._release.files, sent),
            own={name: part({"node": name, "root": self._root(name)}, each, sent) for name, each in files.items()},
            told=answered,
        )
        return {name: found[name] for name in own}

    def _root(self, name: str) -> str:
        return self._settings.root.replace("{node}", word_of(name))
