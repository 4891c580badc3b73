"""Time, as the node sees it: an instant to read and a way to be called at one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ostraka.model.ids import Instant


class Timer(Protocol):
    """A call that has been asked for."""

    def cancel(self) -> None:
        """Don't make the call. Of no effect once it has been made."""


class Clock(Protocol):
    """One process's monotonic clock and the queue of what is to be called."""

    def now(self) -> Instant:
        """Nanoseconds since some fixed point; never back."""

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """Call once, at `when` or as soon after as can be."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call once, after all that is ready to run in this turn."""
