"""To find facts out: the cluster that we are on is asked, and what it says is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from .. import topics
from ..sections import Settings
from ..sources.gpfs import facts as gpfs
from ..sources.gpfs.commands import Commands, programs
from . import Answer, FactsError, FactStore
from .readings import CLUSTER


@dataclass(frozen=True, slots=True)
class Found:
    """What came of asking *cluster*: an answer for each part; *gone* are parts of what is no more there."""

    cluster: str
    answers: Mapping[str, Answer]
    gone: Sequence[str] = ()

    @property
    def failed(self) -> Mapping[str, str]:
        """The parts that could not be read, or not whole, each with its reason."""
        return {part: answer.reason for part, answer in self.answers.items() if answer.reason}


def can_ask(settings: Settings) -> bool:
    """Say whether the commands are here."""
    return (settings.gpfs.commands / "mmlscluster").exists()


def within(settings: Settings) -> gpfs.Within:
    """Return what gives the commands of *settings*."""
    return lambda limit: Commands(programs(settings.gpfs.commands, limit))


def find(store: FactStore, settings: Settings, now: datetime, commands: gpfs.Within | None = None) -> Found:
    """Ask, and write what is answered into *store*; raises FactsError where it can't be written, or not said of whom.

    *now* is the moment before: what changes while we ask is not older than that.
    """
    wanted = settings.facts
    answers = gpfs.ask(commands or within(settings), wanted.limit, wanted.whole)
    cluster = wanted.cluster or _word(answers[CLUSTER], store.clusters())
    gone = gpfs.gone([each.part for each in store.known(cluster)], answers)
    store.write(cluster, {**answers, **dict.fromkeys(gone, Answer(None))}, now)
    store.forget(now - wanted.keep)
    return Found(cluster, answers, gone)


def _word(answer: Answer, known: Sequence[str]) -> str:
    """Return the cluster's word; where it does not say its name, the one that is known."""
    name = (answer.content or {}).get("name")
    if isinstance(name, str):
        return topics.word(name.partition(".")[0])
    if len(known) == 1:
        return known[0]
    why = answer.reason or "mmlscluster names no cluster"
    raise FactsError(f"whose facts these are is not known: {why}; set facts.cluster to the cluster's word in events")
