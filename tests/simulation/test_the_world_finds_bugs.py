"""The checkers can fail: with any one of these bugs put into the production code, some early seed fails.

Each mutant is the kind of slip that a real system has shipped. The number is how many seeds are tried at most.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from ostraka.consensus.raft import agreement, leadership, messages, reads, refill, replica, roles
from ostraka.consensus.raft.log import Log
from ostraka.consensus.raft.replica import Replica
from ostraka.database.sessions import Sessions
from ostraka.node.group import Group
from ostraka.node.host import Host
from ostraka.simulation import member as members
from ostraka.simulation.misfortunes import (
    BitRot,
    Crashes,
    CrashesAtSyncs,
    CrashesInside,
    Delays,
    Doubles,
    LastCopies,
    Losses,
    LostDisks,
    Misfortune,
    Partitions,
    PowerCuts,
    Relapses,
    SlowDisks,
    TornWrites,
)
from ostraka.simulation.world import SeedFailed, World
from ostraka.storage import hard_state
from ostraka.storage.wal import SYNC_POINTS
from ostraka.transport import wire

from .lying_disk import leave_out

Patch = pytest.MonkeyPatch
Kinds = tuple[type[Misfortune], ...] | None
RESTORE = import_module("ostraka.consensus.raft.restore")  # The package has a function of that name.


def sends_before_it_saves(patch: Patch) -> None:
    def send(group: Any, effect: Any) -> None:
        frame = wire.encode_message(group.id, effect.message)
        for member in effect.to:
            group._host.network.send(member, frame)

    patch.setattr(Group, "_send", send)


def acknowledges_before_it_saves(patch: Patch) -> None:
    patch.setattr(Replica, "send", lambda me, to, message: me.send_now((to,), message))


def counts_its_own_copy_before_it_saves(patch: Patch) -> None:
    append = Replica.append

    def mutant(me: Replica, entries: Any) -> None:
        append(me, entries)
        me.saved = me.log.last.index

    patch.setattr(Replica, "append", mutant)


def votes_twice(patch: Patch) -> None:
    def on_request_vote(me: Replica, sender: int, ask: messages.RequestVote) -> None:
        me.voted_for = None
        leadership.on_request_vote(me, sender, ask)

    patch.setitem(replica.ON_MESSAGE, messages.RequestVote, on_request_vote)


def forgets_its_vote(patch: Patch) -> None:
    replay = RESTORE.replay

    def mutant(records: Any) -> Any:
        term, _, base, entries = replay(records)
        return term, None, base, entries

    patch.setattr(RESTORE, "replay", mutant)


def votes_for_anybody(patch: Patch) -> None:
    for name, message in (("on_request_vote", messages.RequestVote), ("on_ask_pre_vote", messages.AskPreVote)):
        rewrite(patch, leadership, name, " and ask.last >= me.log.last", "")
        patch.setitem(replica.ON_MESSAGE, message, getattr(leadership, name))


def commits_what_it_has_not_compared(patch: Patch) -> None:
    rewrite(patch, agreement, "on_append", "min(message.commit, verified)", "min(message.commit, me.log.last.index)")
    patch.setitem(replica.ON_MESSAGE, messages.Append, agreement.on_append)


def commits_on_a_minority(patch: Patch) -> None:
    def committable(quorum: Any, match: Any, log: Log, term: int, commit: int) -> int:
        return max(commit, sorted(match.values())[-2])

    patch.setattr(agreement, "committable", committable)


def cuts_all_that_follows(patch: Patch) -> None:
    def accept(me: Replica, entries: Any) -> bool:
        if entries and entries[0].index <= me.log.last.index:
            me.truncate(entries[0].index)
        me.append(entries)
        return bool(entries)

    patch.setattr(agreement, "accept", accept)


def takes_a_forward_in_twice(patch: Patch) -> None:
    patch.setattr(roles.Seen, "first_time", lambda seen, number: True)


def executes_a_retry_again(patch: Patch) -> None:
    patch.setattr(Sessions, "earlier_reply", lambda sessions, request, index, position: None)


def reads_without_asking_whether_it_leads(patch: Patch) -> None:
    rewrite(patch, reads, "confirm", "if reached(me.quorum, rounds) < role.round:", "if False:")
    rewrite(patch, leadership, "watch_the_time", "reached(me.quorum, heard) + timeout", "me.now + timeout")


def reads_before_its_term_has_committed(patch: Patch) -> None:
    rewrite(patch, reads, "confirm", " or me.commit < role.first", "")


def releases_the_log_before_the_table_is_flushed(patch: Patch) -> None:
    flush = Host.flush

    def mutant(host: Host, done: Callable[[], None]) -> None:
        for group in host.groups.values():
            group.was_flushed(group.applied)
        flush(host, done)

    patch.setattr(Host, "flush", mutant)


def answers_twice(patch: Patch) -> None:
    propose = Group.propose

    def mutant(group: Group, request: Any, answer: Any) -> None:
        def both(reply: Any, error: Any) -> None:
            answer(reply, error)
            answer(reply, error)

        propose(group, request, both)

    patch.setattr(Group, "propose", mutant)


def says_not_executed_of_what_may_be(patch: Patch) -> None:
    rewrite(patch, replica, "Replica.lose_sent", "Lost(tokens)", "Rejected(tokens, Why.NO_LEADER)")


def votes_before_it_has_its_log_back(patch: Patch) -> None:
    for name, message in (("on_request_vote", messages.RequestVote), ("on_ask_pre_vote", messages.AskPreVote)):
        rewrite(patch, leadership, name, " and me.refill is None", "")
        patch.setitem(replica.ON_MESSAGE, message, getattr(leadership, name))


def goes_on_with_what_is_left_of_its_log(patch: Patch) -> None:
    patch.setattr(refill, "begin", lambda me: None)


def lets_in_whoever_comes(patch: Patch) -> None:
    patch.setattr(members, "other_disk", lambda host, group, node, disk: "")


DISORDER = (Losses, Doubles, Delays)
ROT = (BitRot, LastCopies)
MUTANTS: dict[Callable[[Patch], None], tuple[int, Kinds]] = {
    sends_before_it_saves: (20, None),
    acknowledges_before_it_saves: (50, None),
    counts_its_own_copy_before_it_saves: (40, None),
    votes_twice: (20, None),
    forgets_its_vote: (50, None),
    votes_for_anybody: (40, None),
    commits_what_it_has_not_compared: (50, (Partitions, Crashes)),
    commits_on_a_minority: (20, None),
    cuts_all_that_follows: (50, (*DISORDER, Crashes, SlowDisks)),
    takes_a_forward_in_twice: (20, None),
    executes_a_retry_again: (20, None),
    reads_without_asking_whether_it_leads: (50, (Partitions,)),
    reads_before_its_term_has_committed: (50, None),
    releases_the_log_before_the_table_is_flushed: (40, (Crashes, PowerCuts, CrashesAtSyncs)),
    answers_twice: (5, None),
    says_not_executed_of_what_may_be: (20, None),
    votes_before_it_has_its_log_back: (20, ROT),
    goes_on_with_what_is_left_of_its_log: (20, ROT),
    lets_in_whoever_comes: (20, (LostDisks, Partitions, Crashes)),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    first_failure(*MUTANTS[mutant])


@pytest.mark.parametrize("point", hard_state.SYNC_POINTS)
def test_a_sync_of_the_second_copy_left_out_is_found(point: str, monkeypatch: Patch) -> None:
    leave_out(monkeypatch, point)
    first_failure(10, ROT)


@pytest.mark.parametrize(
    "point", [point for point in SYNC_POINTS if not point.startswith("wal.recovery") and point != "identity.name"]
)
def test_a_sync_left_out_is_found(point: str, monkeypatch: Patch) -> None:
    """At `point` the disk only says that it has synced.

    (Those of a recovery: see test_disk, where it takes less. The identity's name is synced again with the second copy
    of the hard state: see test_disk, where there is none.)
    """
    leave_out(monkeypatch, point)
    first_failure(40, (Crashes, CrashesInside, CrashesAtSyncs, TornWrites, Relapses))


def first_failure(most: int, kinds: Kinds) -> int:
    """The first seed that fails under these misfortunes (None: those that it draws)."""
    for seed in range(most):
        try:
            World(seed, misfortunes=kinds).run()
        except SeedFailed:
            return seed
    raise AssertionError(f"not found in {most} seeds")


def rewrite(patch: Patch, module: ModuleType, name: str, old: str, new: str) -> None:
    """Put a function with one piece of its text replaced in its place."""
    owner: Any = module
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    text = textwrap.dedent(inspect.getsource(getattr(owner, last)))
    assert text.count(old) == 1, f"{module.__name__}.{name} has changed: {old!r} is there {text.count(old)} times"
    found: dict[str, Any] = {}
    code = compile("from __future__ import annotations\n" + text.replace(old, new), module.__file__ or "", "exec")
    exec(code, module.__dict__, found)
    patch.setattr(owner, last, found[last])
