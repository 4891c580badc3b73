"""How a replica that lost its log gets it back, before anybody may count on it again.

Follows:  Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST '18 (CTRL): what is damaged is
          fetched from the other replicas, and a replica that can't know what it held elects nobody.
Words:    a replica *refills* from the restart at which its log was found damaged until its log is, durably, that of a
          leader up to the *goal*: where that leader's log ended at some instant after the restart.
Departs:  nothing of the damaged log is used, where the paper repairs it entry by entry; so nobody need be asked which
          entries may be forgotten. Only term and vote are needed from before: `storage.hard_state` keeps them twice.
Evidence: tests/stories/raft/test_refill.py, invariants.QuorumLog, invariants.CommittedIsDurable, and the simulator
          under misfortunes.BitRot and LastCopies. The proof: docs/decisions/0006-a-damaged-log-is-refilled.md.

While it refills a replica follows: it accepts entries and snapshots, and acknowledges what it holds durably now. It
neither votes nor campaigns, and serves nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ostraka.consensus.raft.messages import End, Refilling, Term
from ostraka.model.effects import Refilled, Stranded
from ostraka.model.ids import Index, Instant, NodeId, SaveToken

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica

PATIENCE = 10
"""Election timeouts without a leader after which the members that refill are counted."""

REMEMBERED = 4
"""Election timeouts for which a member that says it refills counts as one that does."""


@dataclass(slots=True)
class Refill:
    """What this replica knows of the log that it must get back."""

    since: Instant  # When a leader was last heard from, or this life began.
    say_at: Instant  # When to tell the others, unless a leader is heard from.
    term: Term = 0  # The leader's whom the next two are about.
    goal: Index | None = None  # Where its log ended, as it answered to this life.
    matched: Index = 0  # Up to here our log is its log.
    over: SaveToken = 0  # Once this save is durable, the log is whole for good. 0: it isn't yet.
    others: dict[NodeId, Instant] = field(default_factory=dict)  # Who said that it refills, too, and when.


def begin(me: Replica) -> None:
    """This life begins without a log that could be relied upon."""
    timeout = me.settings.election_timeout
    me.refill = Refill(since=me.now, say_at=me.now + timeout)
    me.save_term()  # It comes from the second copy; the log must hold it, too, before anything is said.


def life(me: Replica) -> int:
    """What an answer to a leader says of it: which life refills, or 0."""
    return 0 if me.refill is None else me.life


def heard(me: Replica, refill: Refill) -> None:
    """The leader of our term lives. What an earlier one has told is of no use with this one."""
    timeout = me.settings.election_timeout
    refill.since, refill.say_at = me.now, me.now + 2 * timeout
    if refill.term != me.term:
        refill.term, refill.goal, refill.matched = me.term, None, 0


def on_end(me: Replica, sender: NodeId, message: End) -> None:
    """The leader has told this life where its log ends: all that we ever acknowledged in its term lies before that."""
    refill = me.refill
    if refill is None or message.life != me.life or message.term != me.term or sender != me.leader:
        me.discard(sender, "an end that nobody asked for")
        return
    heard(me, refill)
    if refill.goal is None:
        refill.goal = message.last


def proceed(me: Replica, refill: Refill) -> None:
    """Once all up to the goal is durable here, save that we are whole; without a leader, see who else refills."""
    if refill.over:
        return
    if refill.goal is not None and refill.term == me.term and min(refill.matched, me.saved) >= refill.goal:
        refill.over = me.last_save + 1  # The one that this turn issues.
        me.save_term()
    elif me.now >= refill.say_at:
        timeout = me.settings.election_timeout
        refill.say_at = me.now + timeout
        me.send_now(tuple(sorted(me.peers)), Refilling(me.term))
        if me.now >= refill.since + PATIENCE * timeout:
            count(me, refill)


def on_saved(me: Replica, refill: Refill, token: SaveToken) -> None:
    """Take full part again. (A crash before this begins anew, from a log that may be whole: that does no harm.)"""
    if refill.over and token >= refill.over:
        me.refill = None
        me.rest()
        me.out.append(Refilled(me.saved))


def count(me: Replica, refill: Refill) -> None:
    """If those that do not refill are no quorum, then nobody will ever lead: say so rather than wait."""
    recent = me.now - REMEMBERED * me.settings.election_timeout
    refilling = {me.id, *(peer for peer, said in refill.others.items() if said >= recent)}
    if not me.quorum({*me.members.voters, *me.members.outgoing} - refilling):
        me.out.append(Stranded(tuple(sorted(refilling))))


def on_refilling(me: Replica, sender: NodeId, message: Refilling) -> None:
    """Another one refills. That concerns only those who do so themselves."""
    if me.refill is not None:
        me.refill.others[sender] = me.now
