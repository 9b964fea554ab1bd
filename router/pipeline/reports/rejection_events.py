"""Maps reports of rejected records to events.  Pure."""

from datetime import datetime

from ...errors import InvalidTopic
from ...model.catalogue import Catalogues
from ...model.events import Event
from ...model.ids import id_at
from ...model.topics import ABSENT, IngressKey, word
from ..mapping import own_event
from .rejection_reports import Report

_LONGEST_NODE = 100


def rejection_event(report: Report, catalogues: Catalogues, moment: datetime) -> Event:
    """Return the event for *report*; its node is the user that the broker validated."""
    example = report.example
    node = word(example.user)[:_LONGEST_NODE]
    try:
        cluster = IngressKey.parse(example.key).cluster[:_LONGEST_NODE]
    except InvalidTopic:
        cluster = ABSENT
    facts = {
        "record": example.record,
        "node": example.user,
        "key": example.key,
        "user": example.user,
        "reason": example.reason,
        "count": report.count,
        "dropped": report.dropped,
    }
    id_ = id_at(moment, f"recordRejected/{example.user}/{example.record}/{example.key}/{report.count}")
    return own_event("recordRejected", facts, catalogues, cluster=cluster, node=node, id_=id_, moment=moment)
