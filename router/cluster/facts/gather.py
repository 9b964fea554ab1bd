"""Gathers facts: runs the mm commands of the cluster that this machine belongs to, and stores their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...model import topics
from ...settings.models import Settings
from ..gpfs.commands import Commands, programs
from . import gpfs_facts as gpfs
from .errors import FactsError
from .facts_store import FactStore
from .parts import CLUSTER, Answer


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a run for *cluster*: an answer for each part; *gone* are parts of deleted file systems."""

    cluster: str
    answers: Mapping[str, Answer]
    gone: Sequence[str] = ()

    @property
    def failed(self) -> Mapping[str, str]:
        """The parts that could not be read, or only in part, each with its reason."""
        return {part: answer.reason for part, answer in self.answers.items() if answer.reason}


def can_ask(settings: Settings) -> bool:
    """Return whether the mm commands exist on this machine."""
    return (settings.gpfs.commands / "mmlscluster").exists()


def within(settings: Settings) -> gpfs.Within:
    """Return a function that makes the mm commands of *settings* with a time limit."""
    return lambda limit: Commands(programs(settings.gpfs.commands, limit))


def find(store: FactStore, settings: Settings, now: datetime, commands: gpfs.Within | None = None) -> Found:
    """Run the commands and write their answers into *store*.

    *now* is a moment before the first command, so that no fact is dated too late.  Raises FactsError if the store
    cannot be written or the cluster's word in events is not known.
    """
    wanted = settings.facts
    answers = gpfs.ask(commands or within(settings), wanted.limit, wanted.whole, usage=wanted.usage)
    cluster = wanted.cluster or _word(answers[CLUSTER], store.clusters())
    gone = gpfs.gone([each.part for each in store.known(cluster)], answers)
    store.write(cluster, {**answers, **dict.fromkeys(gone, Answer(None))}, now)
    store.forget(now - wanted.keep)
    return Found(cluster, answers, gone)


def _word(answer: Answer, known: Sequence[str]) -> str:
    """Return the cluster's word in events; if mmlscluster gave no name, the only word that *known* holds."""
    name = (answer.content or {}).get("name")
    if isinstance(name, str):
        return topics.word(name.partition(".")[0])
    if len(known) == 1:
        return known[0]
    why = answer.reason or "mmlscluster printed no cluster name"
    raise FactsError(f"the name of the cluster is not known: {why}; set facts.cluster to the cluster's word in events")
