"""Surveys the shim on the nodes of the cluster."""

from collections.abc import Collection, Mapping, Sequence

from ...model.node_words import word_of
from ...settings.models import NodesSettings
from .deployment import Deployment, OnFinding
from .node_status import Finding


def survey(
    names: Sequence[str], settings: NodesSettings, on_finding: OnFinding = lambda _: None
) -> Mapping[str, Finding]:
    """Return for each of *names* whether the shim is good, or what is missing, different or unreachable.

    *names* are the names by which the nodes are reached.  *on_finding* is called with each finding as it arrives.
    Raises SettingsError, NodesError and RoundLost.
    """
    return Deployment(settings, on_finding).survey(names)


def lacking(settings: NodesSettings, names: Sequence[str], away: Collection[str] = ()) -> Mapping[str, str]:
    """Return the nodes of *names* with a missing or different shim, and what is wrong; skips the nodes in *away*.

    *away* holds node names as they are in records.  Raises as `survey`.
    """
    asked = [each for each in names if word_of(each) not in away]
    found = survey(asked, settings) if asked else {}
    return {node: each.reason for node, each in found.items() if not each.good}
