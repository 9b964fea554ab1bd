"""Counts forced unmounts: which file systems were taken away from which nodes."""

import json
from pathlib import Path

from clusterbus import on

COUNTS = Path("/var/lib/clusterbus/consumer/forced-unmounts.json")


@on("unmount", where='data.reason == "forced"')
def forced_unmounts(event, fsName):
    counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    node = counts.setdefault(fsName, {})
    node[event.node] = node.get(event.node, 0) + 1
    COUNTS.write_text(json.dumps(counts, indent=2))
    return node[event.node]
