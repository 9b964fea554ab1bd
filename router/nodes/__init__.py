"""The shim on the nodes of the cluster: put there, looked at, taken away."""

from collections.abc import Collection, Mapping, Sequence

from ..sections import NodesSettings
from .deployment import Deployed, Deployment, Told
from .errors import NodesError
from .findings import Finding, by_reason
from .names import word_of

__all__ = ["Deployed", "Deployment", "Finding", "NodesError", "by_reason", "lacking", "survey"]


def survey(names: Sequence[str], settings: NodesSettings, told: Told = lambda _: None) -> Mapping[str, Finding]:
    """Return for each of *names* whether the shim is good there, or in words what is missing, different or unreachable.

    *names* are those by which the nodes are reached.  *told* is called with each finding when it is there.
    Raises SettingsError, NodesError and RoundLost.
    """
    return Deployment(settings, told).survey(names)


def lacking(settings: NodesSettings, names: Sequence[str], away: Collection[str] = ()) -> Mapping[str, str]:
    """Return which of *names* have no shim, or another one, and what is wrong; but not of those that are *away*.

    *away* are names as they are in records.  Raises as `survey`.
    """
    asked = [each for each in names if word_of(each) not in away]
    found = survey(asked, settings) if asked else {}
    return {node: each.reason for node, each in found.items() if not each.good}
