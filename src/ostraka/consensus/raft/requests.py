"""What this replica's own callers propose: packed into batches, given to whoever leads, each ending exactly once.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §8 (client interaction).
Words:    held batches wait for a leader that takes them in; sent ones were given to one, here or elsewhere.
Departs:  clients ask any member; a follower forwards for them. A forward is good for one term, is taken in at most once
          in it, and is never repeated, so a request is executed at most once without any session.
Evidence: tests/consensus/raft/test_requests.py, tests/consensus/test_engine_contract.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostraka.consensus.raft import agreement, membership
from ostraka.consensus.raft.messages import Forward, ForwardChange, ForwardRefused
from ostraka.consensus.raft.roles import Change, Leader, Seen, Stopped
from ostraka.model.effects import Lost, Rejected, Why
from ostraka.model.events import Propose
from ostraka.model.ids import Instant, NodeId, Token
from ostraka.model.requests import Batch, Request, pack

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica

HELD_FOR = 2
"""Election timeouts that a batch waits for a leader to be known."""

SENT_FOR = 5
"""Election timeouts after which nobody waits any longer for a batch that was sent."""


@dataclass(slots=True)
class Waiting:
    """A batch of this replica's own callers that isn't decided."""

    tokens: tuple[Token, ...]
    batch: Batch
    expires: Instant
    refused: bool = False  # By a leader that was handing over.


def on_propose(me: Replica, event: Propose) -> None:
    """Gather what this turn brings; `submit` makes one batch of it."""
    if isinstance(me.role, Stopped):
        me.out.append(Rejected(tuple(token for token, _ in event.requests), Why.FINISHED))
    elif me.refill is not None:
        me.out.append(Rejected(tuple(token for token, _ in event.requests), Why.REFILLING, me.leader))
    else:
        me.incoming.extend(event.requests)


def submit(me: Replica) -> None:
    """Give held batches, then this turn's, to the leader, if there is one that takes them in."""
    if accepting(me) and me.held:
        held, me.held = me.held, {}
        for waiting in held.values():
            give(me, waiting)
    if not me.incoming:
        return
    incoming, me.incoming = me.incoming, []
    for tokens, packed in parcels(incoming, me.settings.max_entry):
        if me.own_bytes and me.own_bytes + len(packed) > me.settings.max_uncommitted:
            me.out.append(Rejected(tokens, Why.OVERLOADED, me.leader))
            continue
        me.own_bytes += len(packed)
        me.batches += 1
        expires = me.now + HELD_FOR * me.settings.election_timeout
        waiting = Waiting(tokens, Batch(me.id, me.life, me.batches, packed), expires)
        if accepting(me):
            give(me, waiting)
        else:
            me.held[me.batches] = waiting


def accepting(me: Replica) -> bool:
    """Is there a leader, and isn't it handing over? (Thesis §3.10)"""
    return me.leader != 0 and me.now >= me.hold_until


def parcels(incoming: list[tuple[Token, Request]], most: int) -> Iterator[tuple[tuple[Token, ...], bytes]]:
    """The requests packed: together where that isn't too large, else in halves, and so on; a large one alone."""
    tokens = tuple([token for token, _ in incoming])
    packed = pack(tuple([request for _, request in incoming]))
    if len(packed) <= most or len(incoming) == 1:
        yield tokens, packed
    else:
        middle = len(incoming) // 2
        yield from parcels(incoming[:middle], most)
        yield from parcels(incoming[middle:], most)


def give(me: Replica, waiting: Waiting) -> None:
    """Hand a batch to the leader: ourselves, or by one message that is never sent again."""
    batch, role = waiting.batch, me.role
    if not isinstance(role, Leader):
        me.send_now((me.leader,), Forward(me.term, batch.life, batch.number, batch.requests))
    elif not agreement.take_in(me, role, batch):
        me.own_bytes -= len(batch.requests)
        me.out.append(Rejected(waiting.tokens, Why.OVERLOADED, me.leader))
        return
    waiting.expires = me.now + SENT_FOR * me.settings.election_timeout
    me.sent[batch.number] = waiting


def on_forward(me: Replica, sender: NodeId, forward: Forward | ForwardChange) -> None:
    """Take in the batch, or the wish, if we lead the very term that it was meant for, and it has not come before.

    A refusal must be true for ever. So it is given only by the one who led that term, for a number that
    it has never seen, and which then counts as seen.
    """
    role = me.role
    origin = (sender, forward.life)
    leads = isinstance(role, Leader) and forward.term == me.term
    if not leads and forward.term != me.led.term:
        me.discard(sender, "forwarded to the leader of another term")
        return
    seen = role.seen if isinstance(role, Leader) and leads else me.led.seen
    why: Why | None = None
    if not seen.setdefault(origin, Seen()).first_time(forward.number):
        me.discard(sender, "forwarded twice")
    elif not isinstance(role, Leader) or not leads:
        why = Why.NO_LEADER
    elif isinstance(forward, ForwardChange):
        change = Change(forward.members, asker=(sender, forward.life, forward.number))
        why = membership.take_on(me, role, change, forward.base)
    elif me.handover is not None:
        why = Why.TRANSFERRING
    elif not agreement.take_in(me, role, Batch(sender, forward.life, forward.number, forward.requests)):
        why = Why.OVERLOADED
    if why is not None:
        me.send_now((sender,), ForwardRefused(me.term, forward.life, forward.number, why))


def on_forward_refused(me: Replica, sender: NodeId, refusal: ForwardRefused) -> None:
    """The leader did not take it in, so it never happens; but where it hands over, the next one can be asked."""
    if refusal.life == me.life and refusal.number in me.wishes:
        me.out.append(Rejected((me.wishes.pop(refusal.number).token,), refusal.why, me.leader))
        return
    waiting = me.sent.pop(refusal.number, None) if refusal.life == me.life else None
    if waiting is None:
        me.discard(sender, "a refusal that nobody waits for")
        return
    if refusal.why == Why.TRANSFERRING and not waiting.refused:
        me.hold_until = me.now + me.settings.election_timeout
        me.batches += 1
        expires = me.now + HELD_FOR * me.settings.election_timeout
        batch = Batch(me.id, me.life, me.batches, waiting.batch.requests)
        me.held[me.batches] = Waiting(waiting.tokens, batch, expires, refused=True)
        return
    me.own_bytes -= len(waiting.batch.requests)
    me.out.append(Rejected(waiting.tokens, refusal.why, me.leader))


def expire(me: Replica) -> None:
    """Nobody waits for ever: what found no leader did not happen, what was sent may have."""
    while me.held and (first := next(iter(me.held.values()))).expires <= me.now:
        del me.held[first.batch.number]
        me.own_bytes -= len(first.batch.requests)
        me.out.append(Rejected(first.tokens, Why.NO_LEADER))
    while me.sent and (first := next(iter(me.sent.values()))).expires <= me.now:
        del me.sent[first.batch.number]
        me.own_bytes -= len(first.batch.requests)
        me.out.append(Lost(first.tokens))
    while me.wishes and (wish := next(iter(me.wishes.values()))).expires <= me.now:
        del me.wishes[next(iter(me.wishes))]
        me.out.append(Lost((wish.token,)))


def deadline(me: Replica) -> Instant | None:
    """When the first batch expires, or can be given. Batches come in the order of their expiry."""
    held = next(iter(me.held.values())).expires if me.held else None
    if held is not None and me.leader:
        held = min(held, me.hold_until)
    due = [waiting[next(iter(waiting))].expires for waiting in (me.sent, me.wishes) if waiting]
    return min(due if held is None else [*due, held], default=None)
