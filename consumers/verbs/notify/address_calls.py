"""One message to each address of a contact, each in a thread of its own: a service that hangs delays no other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ...config.python_files import error_text
from ...errors import Rejected
from .apprise_client import Address, Service, addresses
from .message import Message

log = logging.getLogger(__name__)


@dataclass
class Call:
    """One message to the *address* of *contact*; `reason` is None until the call ends, and empty on success.

    An address may be a reference to several addresses: then `parts` has a call for each; *notified* ones have ended.
    """

    contact: str
    address: str
    notified: Sequence[str] = ()
    reason: str | None = None
    hopeless: bool = False
    parts: Sequence[Call] = ()
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def leaves(self) -> Sequence[Call]:
        """The calls to single addresses, as far as they are known."""
        return self.parts or (self,)

    def remembered(self, notified: Iterable[str]) -> list[str]:
        """Return what to remember after the call, besides *notified*: a reference, once all its addresses have it."""
        done = [each.address for each in self.leaves if each.reason == ""]
        if len(done) == len(self.leaves):
            return [*(each for each in notified if not each.startswith(f"{self.address}#")), self.address]
        return list(dict.fromkeys([*notified, *done]))


class Sending:
    """Makes calls, each in one of `threads`.  A thread cannot be killed, and may outlive the wait for it."""

    def __init__(self, messages: Mapping[str, Message]) -> None:
        """Send the message to each contact that *messages* has."""
        self._messages = messages
        self.threads: list[threading.Thread] = []

    def start(self, calls: Sequence[Call]) -> None:
        """Start all *calls* in parallel."""
        for call in calls:
            self._start(call, self._call)

    def _start(self, call: Call, make: Callable[[Call], None]) -> None:
        def made() -> None:
            try:
                make(call)
            except Rejected as error:
                call.reason, call.hopeless = str(error), True
            except OSError as error:
                call.reason = error.strerror or str(error)
            except Exception as error:
                log.exception("an address cannot be notified", extra={"contact": call.contact})
                call.reason = error_text(error)
            finally:
                call.ended.set()

        thread = threading.Thread(target=made, name="notify", daemon=True)
        self.threads.append(thread)
        thread.start()

    def _call(self, call: Call) -> None:
        found = addresses(call.address)
        notified = {each.name for each in found if each.was_notified(call.notified)}
        if [each.name for each in found] == [call.address]:
            if notified:
                call.reason = ""
            else:
                self._send(call, found[0])
            return
        call.parts = [Call(call.contact, each.name, reason="" if each.name in notified else None) for each in found]
        call.reason = ""
        for part, address in zip(call.parts, found, strict=True):
            if part.reason is None:
                self._start(part, partial(self._send, address=address))
            else:
                part.ended.set()

    def _send(self, call: Call, address: Address) -> None:
        service = Service(address.url, address.shown)
        if service.dropped:
            facts = {"contact": call.contact, "address": address.shown, "reason": service.dropped}
            log.warning("a part of an address is not notified", extra=facts)
        call.reason = service.send(self._messages[call.contact])
