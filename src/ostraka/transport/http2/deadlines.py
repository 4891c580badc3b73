"""When calls run out of time, without a heap entry for each call.

Departs:  a deadline is rounded up to a slice of about 17 ms, and a call that ends early is not taken out:
          its id stays in its slice, and is not found any more when the slice is due. Nearly all calls end early,
          so adding one costs a dictionary lookup and an append, and ending one costs nothing. When most of the ids
          that are kept belong to calls that have ended, they are swept out.
"""

from __future__ import annotations

from collections.abc import Container
from heapq import heapify, heappop, heappush

from ostraka.model.ids import Instant

_SLICE_BITS = 24
"""A slice is 2**24 ns."""

_FEW = 1_024
"""So many ids are not worth sweeping."""


class Deadlines:
    """The deadlines of one connection's calls, in slices of time. `open_calls` are the ids that still matter.

    The id 0 matters always: it stands for a call that has no id yet.
    """

    def __init__(self, open_calls: Container[int]) -> None:
        self._open = open_calls
        self._kept = 0
        self._sweep_at = _FEW
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
        self._kept += 1
        if self._kept >= self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        swept: dict[int, list[int]] = {}
        for number, calls in self._calls.items():
            left = [stream_id for stream_id in calls if stream_id in self._open]
            if 0 in calls:
                left.append(0)
            if left:
                swept[number] = left
        self._calls = swept
        self._slices = list(swept)
        heapify(self._slices)
        self._kept = sum(map(len, swept.values()))
        self._sweep_at = max(_FEW, 2 * self._kept)

    def next(self) -> Instant | None:
        """When `due` has something to look at."""
        return (self._slices[0] + 1) << _SLICE_BITS if self._slices else None

    def due(self, now: Instant) -> list[int]:
        """Take out the calls whose time is over; those that have ended already are among them."""
        ids: list[int] = []
        while self._slices and (self._slices[0] + 1) << _SLICE_BITS <= now:
            ids += self._calls.pop(heappop(self._slices))
        self._kept -= len(ids)
        return ids
