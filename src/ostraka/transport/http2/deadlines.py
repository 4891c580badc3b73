"""When calls run out of time, without a heap entry for each call.

Departs:  a deadline is rounded up to a slice of about 17 ms, and a call that ends early is not taken out:
          its id stays in its slice, and is not found any more when the slice is due. Nearly all calls end early,
          so adding one costs a dictionary lookup and an append, and ending one costs nothing.
"""

from __future__ import annotations

from heapq import heappop, heappush

from ostraka.model.ids import Instant

_SLICE_BITS = 24
"""A slice is 2**24 ns."""


class Deadlines:
    """The deadlines of one connection's calls, in slices of time."""

    def __init__(self) -> None:
        self._calls: dict[int, list[int]] = {}
        self._slices: list[int] = []

    def add(self, stream_id: int, deadline: Instant) -> None:
        """This call ends at `deadline` (in ns), or up to 17 ms later."""
        number = deadline >> _SLICE_BITS
        calls = self._calls.get(number)
        if calls is None:
            self._calls[number] = [stream_id]
            heappush(self._slices, number)
        else:
            calls.append(stream_id)

    def next(self) -> Instant | None:
        """When `due` has something to look at."""
        return (self._slices[0] + 1) << _SLICE_BITS if self._slices else None

    def due(self, now: Instant) -> list[int]:
        """Take out the calls whose time is over; those that have ended already are among them."""
        ids: list[int] = []
        while self._slices and (self._slices[0] + 1) << _SLICE_BITS <= now:
            ids += self._calls.pop(heappop(self._slices))
        return ids
