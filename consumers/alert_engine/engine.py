"""The engine of alerts.

It reads the queue of the events that open and close alerts, of which the broker gives each to one consumer only.  A
batch is one transaction: what was observed, what alerts become, and the changes that are to be published.  Then the
events are acknowledged.  So after a kill at any moment an event is delivered again, and observed once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

from sqlalchemy.engine import Connection

from router import database
from router.broker import content_modes
from router.broker.interface import Arrival, Broker
from router.broker.topology import ALERTS, Topology, event_binding
from router.errors import InvalidEvent
from router.model.catalogue import Catalogues
from router.model.events import Event, Wire
from router.settings.sections.alerts_section import AlertsSettings

from ..alerts.active_rules import ActiveRules, Sighting
from ..alerts.alert_row import AlertRow, key_of
from ..alerts.life.changes import DEEPEST
from ..alerts.life.fold import Policy
from ..alerts.life.observations import Observation
from ..alerts.life.subject import Subject
from ..alerts.life.surroundings import suppressors
from ..alerts.life.unit_of_work import Times, UnitOfWork
from ..deliveries import bounded
from ..delivery.batching import BatchQueue
from ..errors import StoreError
from ..store import bindings
from ..store.alerts import outbox, subjects, work
from ..store.database import Store, lock
from .counting import Counting
from .due_work import DueWork
from .publisher import ChangePublisher

log = logging.getLogger(__name__)
