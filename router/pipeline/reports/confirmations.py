"""Reports that a second node saw what one node had reported.  Pure.

Copies become no events, so nobody else learns that an event is more than the word of one node.
"""

import logging
from datetime import datetime, timedelta

from ...errors import InvalidEvent
from ...model.catalogue import Catalogues
from ...model.events import SEVERITIES, Event
from ...model.ids import derived_id
from ..mapping import own_event

log = logging.getLogger(__name__)

NAME = "reportConfirmed"
"""By this the router says that a second node reports the same: its report itself became no event."""

LONGEST = 16 * 1024
"""The longest report that is confirmed, in octets of JSON: one that names more than some hundred nodes is not."""

ENDS = frozenset(("gpfs.nodeJoin", "gpfs.quorumNodeJoin"))
"""What every registered node reports, and says that something is over.

`quorumReached` and `afmFilesetUnexpired` are none of them: one node reports these, which nobody can confirm.
"""

_LATER = timedelta(microseconds=1)
_WRONG = SEVERITIES[SEVERITIES.index("warning") :]


def confirmation(first: str, copy: Event, catalogues: Catalogues, moment: datetime) -> Event | None:
    """Return the event that says that *copy* confirms the event *first*; None if it is too long.

    None, too, if *copy* neither says that something is wrong, nor is one of `ENDS`.

    Its id is the same whichever router finds it.  It is later than *first*, whose time may be that of this batch.
    """
    if copy.severity not in _WRONG and copy.type not in ENDS:
        return None
    report = copy.model_copy(update=dict.fromkeys(("sequence", "sequencetype", "epoch", "traceparent"))).to_json()
    if len(report) > LONGEST:
        return None
    facts = {"node": copy.node, "eventType": copy.type, "eventId": first}
    id_ = derived_id(copy.id, f"{NAME}/{first}")
    made = own_event(NAME, facts, catalogues, cluster=copy.cluster, node=copy.node, id_=id_, moment=moment + _LATER)
    # Whole, since a text that is cut is no event.
    return made.model_copy(update={"data": {**made.data, "report": report.decode()}})


def report_in(event: Event) -> Event | None:
    """Return the report of the second node that the confirmation *event* has; None, and a log line, if it has none."""
    try:
        return Event.from_json(str(event.data.get("report")).encode())
    except InvalidEvent as error:
        log.error("a report that confirms another one cannot be read", extra={"reason": str(error)})  # noqa: TRY400 - complete
        return None
