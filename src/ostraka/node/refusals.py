"""Why something did not happen, as the error that its caller gets."""

from __future__ import annotations

from ostraka.errors import (
    MembersChanged,
    NotCaughtUp,
    NotExecuted,
    NotLeader,
    Overloaded,
    Refilling,
    Refused,
    StorageError,
)
from ostraka.model.effects import Why


def refusal(why: Why) -> NotExecuted:
    """What the engine refuses, and why."""
    match why:
        case Why.NO_LEADER:
            return NotLeader("no leader: a quorum of the members can't be reached from here")
        case Why.OVERLOADED:
            return Overloaded(f"{why.value}: the cluster takes in more than it can replicate; try again later")
        case Why.REFILLING:
            return Refilling(why.value)
        case Why.NOT_LEADER | Why.NOT_A_MEMBER:
            return NotLeader(f"{why.value}; ask the one that does")
        case Why.CHANGED | Why.CHANGING:
            return MembersChanged(f"{why.value}; look at them, and try again")
        case Why.BEHIND:
            return NotCaughtUp(why.value)
        case Why.NOT_A_VOTER | Why.NO_CONFIGURATION:
            return Refused(why.value)
        case _:
            return NotExecuted(why.value)


def finished(failure: StorageError) -> NotExecuted:
    """What everybody is told once a node has ended."""
    return NotExecuted(f"this node has stopped: {failure}")
