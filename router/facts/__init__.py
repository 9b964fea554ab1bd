"""What is known of a cluster itself: nodes, roles, manager, quorum, file systems, filesets, disks; and since when.

It comes in parts, each of which is what one command said, has its own age, and may be missing without the others.
How a source is asked is not told here (`router.sources.gpfs.facts`), only what its answers come to and how they are
kept: when a part changed, so that what was known at some moment can be read again.
"""

from .assembling import assemble
from .cluster import DiskFacts, Facts, FilesetFacts, FileSystemFacts, NodeFacts, PartFacts, QuorumFacts, unknown
from .errors import FactsError
from .readings import Answer, Reading
from .store import FactStore
from .views import Known

__all__ = [
    "Answer",
    "DiskFacts",
    "FactStore",
    "Facts",
    "FactsError",
    "FileSystemFacts",
    "FilesetFacts",
    "Known",
    "NodeFacts",
    "PartFacts",
    "QuorumFacts",
    "Reading",
    "assemble",
    "unknown",
]
