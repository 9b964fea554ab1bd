"""Which deliveries of one channel are settled, and the fewest frames that acknowledge them.  No I/O."""

from __future__ import annotations


class Acks:
    """The unsettled deliveries of one channel, by number."""

    __slots__ = ("_acked", "_open")

    def __init__(self) -> None:
        """Begin without deliveries."""
        self._open: dict[int, None] = {}
        self._acked: list[int] = []

    def __len__(self) -> int:
        """Return the number of unsettled deliveries."""
        return len(self._open)

    def deliver(self, number: int) -> None:
        """Note that delivery *number* arrived; numbers only increase."""
        self._open[number] = None

    def settle(self, number: int) -> bool:
        """Settle *number*; False if it is settled already: the broker closes a channel that settles one twice."""
        if number in self._open:
            del self._open[number]
            return True
        return False

    def ack(self, number: int) -> bool:
        """Settle *number* and keep it for the next `frames`; False if it is settled already."""
        if not self.settle(number):
            return False
        self._acked.append(number)
        return True

    def frames(self) -> list[tuple[int, bool]]:
        """Return the acknowledgements to send, as (number, whether all up to it), and count them as sent.

        >>> acks = Acks()
        >>> for number in (1, 2, 3, 4, 5): acks.deliver(number)
        >>> acks.ack(5), acks.ack(2), acks.ack(1)
        (True, True, True)
        >>> acks.frames()
        [(2, True), (5, False)]
        """
        if not self._acked:
            return []
        oldest = next(iter(self._open), None)
        acked, self._acked = sorted(self._acked), []
        if oldest is None or acked[-1] < oldest:
            below, above = acked, []
        else:
            below = [number for number in acked if number < oldest]
            above = acked[len(below) :]
        frames = [(below[-1], len(below) > 1)] if below else []
        return frames + [(number, False) for number in above]
