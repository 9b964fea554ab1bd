"""Which callbacks clusterbus registers with GPFS.  Pure.

One callback for each family of events, with only the variables of that family:

    mmaddcallback clusterbus-disk --command /usr/libexec/clusterbus/capture-gpfs --event diskFailure
                  --parms "%eventName --eventNode %eventNode ... --fsName %fsName --diskName %diskName"

First the event's name, then a flag and the variable for each, free text last: what is lost or split by GPFS then
shifts nothing but itself.  capture-gpfs puts `gpfs` before them, so capture gets the source `gpfs`, the event, and
the pairs as its arguments.  Always asynchronous: GPFS waits for none of them.
"""

from dataclasses import dataclass

from ...catalogue import Catalogue

COMMAND = "/usr/libexec/clusterbus/capture-gpfs"
PREFIX = "clusterbus-"
QUORUM_NODES = "quorumNodes"

# Useful with any event and short; the lists of nodes grow with the cluster and go only with events that are about them.
_ALWAYS = ("eventNode", "myNode", "clusterName")


@dataclass(frozen=True, slots=True)
class Registration:
    """One callback that is wanted; empty *nodes* means all nodes, those added later included."""

    identifier: str
    events: tuple[str, ...]
    parms: str
    nodes: tuple[str, ...] = ()

    def arguments(self, command: str = COMMAND) -> list[str]:
        """Return the arguments for mmaddcallback."""
        where = ["-N", ",".join(self.nodes)] if self.nodes else []
        events = ",".join(self.events)
        return [self.identifier, "--command", command, "--event", events, *where, "--parms", self.parms]


def registrations(catalogue: Catalogue, *, everywhere: bool = False) -> list[Registration]:
    """Return the callbacks for the default events of *catalogue*, one a category, in the catalogue's order.

    A family whose events are all global is registered on the quorum nodes only, which keeps copies few, unless
    *everywhere*.  It has to be certain that they are global: a local event would never be seen from elsewhere.
    """
    families: dict[str, list[str]] = {category: [] for category in catalogue.categories}
    for name, event in catalogue.events.items():
        if event.default:
            families[event.category].append(name)
    return [
        Registration(
            identifier=f"{PREFIX}{family}",
            events=tuple(events),
            parms=_parms(catalogue, events),
            nodes=(QUORUM_NODES,) if not everywhere and _certainly_global(catalogue, events) else (),
        )
        for family, events in families.items()
        if events
    ]


def _certainly_global(catalogue: Catalogue, events: list[str]) -> bool:
    return all(
        catalogue.events[each].scope == "global" and catalogue.events[each].status["scope"] == "confirmed"
        for each in events
    )


def _parms(catalogue: Catalogue, events: list[str]) -> str:
    own = (variable for event in events for variable in catalogue.events[event].variables)
    wanted = [each for each in dict.fromkeys((*_ALWAYS, *own)) if each != "eventName"]
    ordered = sorted(wanted, key=lambda each: _may_have_blanks(catalogue, each))
    return " ".join(("%eventName", *(f"--{each} %{each}" for each in ordered)))


def _may_have_blanks(catalogue: Catalogue, variable: str) -> bool:
    kind = catalogue.variables[variable]
    return kind.type == "text" or kind.separator == " "
