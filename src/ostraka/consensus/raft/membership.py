"""Who takes part: configurations, in effect from the moment that they are in the log.

Follows:  Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", §6.
Words:    members are the paper's configuration; outgoing voters are C-old of a joint one.
Departs:  nothing. The members of a cluster are those it was started with until ChangeMembers is supported; entries
          that carry a configuration are obeyed already.
Evidence: tests/consensus/raft/test_membership.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostraka.consensus.quorum import quorum_of
from ostraka.consensus.raft.roles import Leader, Progress
from ostraka.model.effects import MembersActive, Rejected, Why
from ostraka.model.events import ChangeMembers
from ostraka.model.ids import Index

if TYPE_CHECKING:
    from ostraka.consensus.raft.replica import Replica


def take_effect(me: Replica) -> None:
    """A server uses the latest configuration in its log, committed or not. (§6)"""
    index, members = me.configurations[-1]
    if members != me.members:
        me.out.append(MembersActive(members, index))
    me.members = members
    me.quorum = quorum_of(members)
    me.peers = frozenset(members.everyone()) - {me.id}
    if isinstance(me.role, Leader):
        known, first = me.role.progress, me.log.last.index + 1
        me.role.progress = {peer: known.get(peer) or Progress(next=first, heard=me.now) for peer in sorted(me.peers)}


def roll_back(me: Replica, first: Index) -> None:
    """Entries from this index on are gone, and the configurations in them with them."""
    if me.configurations[-1][0] >= first:
        while me.configurations[-1][0] >= first:
            me.configurations.pop()
        take_effect(me)


def on_change_members(me: Replica, event: ChangeMembers) -> None:
    """The members of a running cluster can't be changed yet."""
    me.out.append(Rejected((event.token,), Why.UNSUPPORTED, me.leader))
