"""Reads by the leader alone: a lease that is kept in the log.

Follows:  Davis, Demirbas and others, "LeaseGuard: Raft Leases Done Right" (arXiv 2512.15659), without inherited leases.
Words:    Δ is `Settings.lease`, ρ is `Settings.clock_drift`. A leader holds a lease for Δ after it proposed the last
          entry of its own that is committed. A new leader waits: it commits nothing while another may hold one.
Departs:  no clock is compared with another: where the paper writes the time into entries, each replica remembers when
          its own log last grew. Δ may differ between members: it travels with entries and is saved before them, so
          whoever holds an entry knows for how long somebody may read by it. A leader that calls its heir gives its
          lease up, so that the heir need not wait. A lease is renewed by a no-op only where somebody reads.
Evidence: tests/consensus/raft/test_lease.py, tests/stories/raft/test_lease.py, tests/stories/raft/lease.story,
          simulation/raft.py (`_look_at_leases`), tests/simulation/test_leases.py (clocks beyond the bound are found).

What is assumed: no member's monotonic clock runs more than 1 + ρ times as fast as another's, over any span. Clocks need
not agree. A clock that stops while its machine sleeps, or is moved to another host, breaks that bound.

Why nobody reads what is old. Let L lead term t and read by the lease of its entry e, proposed at instant T, and let N
lead a later term.

1. *N holds e.* e was committed in term t, so all leaders of later terms have it. (Leader Completeness)
2. *N got e after T*, and what follows e in its log not before e. So when N's log last grew before it led, or when N's
   process began, was after T. By its own clock N then waits for Δ (1 + ρ): longer than L's clock needs for Δ.
3. *N knows Δ.* Whoever sends entries sends the longest Δ by which anybody may still read, and who receives them saves
   that before them. A leader that has waited names its own Δ: all others are over.
4. So, while L reads, N commits nothing. And all that was committed before term t, L knows: e is of its own term.
5. *The heir.* Leader L sends its heir its last position P, and never again reads by entries up to P. If P is where the
   heir's log ends when it is elected, no entry after P is committed, and none but L committed one after L's first. So
   nobody holds a lease. Otherwise it waits like any other. P stays true, however late the call comes.

When the lease must be valid: at some instant after the read was asked for. Then all that was answered before is
committed, and its index is known here. What happens afterwards, a pause of this process included, does no harm: the
read shows the state at that index, or a later one, and takes effect between question and answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostraka.consensus.raft.messages import TimeoutNow
from ostraka.consensus.raft.roles import Leader
from ostraka.model.ids import Duration, Instant, Position

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica

MILLION = 1_000_000


@dataclass(slots=True)
class Leases:
    """What a replica knows of the leases of others."""

    grown: Instant  # When the log last grew, as far as this life knows.
    longest: Duration = 0  # For so long after it was proposed somebody may read by an entry of the log. Persistent.
    given_up: Position | None = None  # A leader that called us reads by no entry up to here any more.


def outlasting(lease: Duration, drift: int) -> Duration:
    """How long to wait by the own clock so that a lease is over by whichever clock it is measured. `drift`: in ppm."""
    return lease + -(-lease * drift // MILLION)


def wait(me: Replica) -> Instant:
    """From when on a new leader may commit. Called before anything of the new term is in its log."""
    if me.log.last == me.leases.given_up:
        return me.now
    return me.leases.grown + outlasting(me.leases.longest, me.settings.clock_drift)


def name(me: Replica, role: Leader) -> None:
    """Say with our entries how long somebody may read by an entry: by ours, or by one of an earlier leader."""
    adopt(me, max(me.settings.lease, me.leases.longest if me.now < role.commits_at else 0))


def adopt(me: Replica, lease: Duration) -> None:
    """For so long somebody may read by entries that we hold, or by those that we are about to save."""
    if lease != me.leases.longest:
        me.leases.longest = lease
        me.save_term()


def extend(me: Replica, role: Leader) -> None:
    """The lease counts from when the last committed entry was proposed."""
    while role.proposed and role.proposed[0][0] <= me.commit:
        role.lease_from = role.proposed.popleft()[1]


def holds(me: Replica, role: Leader, now: Instant) -> bool:
    """Is nobody else able to commit anything at this instant?"""
    return role.lease_from is not None and now < role.lease_from + me.settings.lease


def renew(me: Replica, role: Leader) -> bool:
    """Is it time for a no-op, so that later readers find a lease? Only where they wait for others, and none is coming.

    Called when somebody reads, so a group in which nobody does stays quiet.
    """
    if not me.settings.lease or me.handover is not None or me.log.last.index != me.commit or me.quorum({me.id}):
        return False
    return role.lease_from is None or me.now >= role.lease_from + me.settings.lease // 2


def give_up(me: Replica, role: Leader) -> TimeoutNow:
    """Read by nothing that is in the log now; the heir may rely on that."""
    role.proposed.clear()
    role.lease_from = None
    return TimeoutNow(me.term, me.log.last)
