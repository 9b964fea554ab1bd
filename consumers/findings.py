"""What was looked at, how it is, and what to do about it: a finding of `clusterbus doctor`."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "look", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: the *verdict*, what was *seen*, and what to do."""

    part: str
    verdict: Verdict
    seen: str
    advice: str = ""
    unreachable: bool = False
