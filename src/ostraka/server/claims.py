"""Who waits for what: claims on a name, of which one at a time is granted, to whose key was created first.

Follows:  Hunt et al., USENIX ATC '10, "ZooKeeper", §2.4 "Simple Locks without Herd Effect"; etcd's Go client, whose
          keys these are: the name, a slash, and the lease's id in hexadecimal.
Words:    the key's create revision is the claim's *token*: later holders have greater ones, so whatever is guarded can
          tell a holder that was one too long (a fencing token). The *owner* of a name has the least token.
Departs:  nothing polls and nothing is a task: a claim waits for the end of the key just before its own, which this
          member sees as it executes the log. Before it is granted, a read index shows that what was seen is recent
          enough: a member that lags behind does not grant what was lost again in the meantime.
Evidence: tests/server/test_claims.py, tests/simulation/test_locks.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ostraka.api.packing import Packer
from ostraka.database.commands import (
    Compare,
    DeleteRange,
    Failure,
    KeyValue,
    LeaseGrant,
    LeaseGranted,
    LeaseId,
    LeaseRevoke,
    Put,
    Range,
    RangeDone,
    Relation,
    SortOrder,
    SortTarget,
    Target,
    Txn,
    TxnDone,
    decode_reply,
    encode,
)
from ostraka.errors import NotExecuted, OstrakaError, StorageError
from ostraka.model.machine import Outcome
from ostraka.model.requests import Entry, Request
from ostraka.node.group import Group
from ostraka.node.host import Host
from ostraka.server.calls import SERVER_STOPPED, Tally, refuse
from ostraka.server.lease import new_id
from ostraka.server.member import Member
from ostraka.transport.http2.errors import Status
from ostraka.transport.http2.server import ServerCall

SESSION_TTL: Final = 60
"""Seconds that a claim lives which brings no lease of its own: as with etcd, nobody keeps it alive."""

NOT_LEADER: Final = Failure(Status.UNKNOWN, "election: not leader")
SESSION_EXPIRED: Final = Failure(Status.UNKNOWN, "mutex: session is expired")

FENCING_TOKEN: Final = "ostraka-fencing-token"
"""The trailer in which a granted claim's token is told, since not all of etcd's messages have a field for it."""

Settled = Callable[[Failure | OstrakaError | None], None]
"""Called once: with None when the claim is granted, or with why it is not."""


def prefix_of(name: bytes) -> bytes:
    """Where the keys of all claims on this name are."""
    return name + b"/"


def key_of(name: bytes, lease: LeaseId) -> bytes:
    """The key of this lease's claim."""
    return prefix_of(name) + b"%x" % lease


def owner_query(name: bytes) -> Range:
    """Asks for the key that was created first."""
    return Range(prefix_of(name), name + b"0", 1, sort_order=SortOrder.ASCEND, sort_target=SortTarget.CREATE)


def if_created_in(key: bytes, revision: int, then: Put | DeleteRange) -> Txn:
    """Do this if the key is there, and the very one that was created in this revision."""
    return Txn((Compare(key, b"", Target.CREATE, Relation.EQUAL, revision),), (then,))


class Claims:
    """All claims that wait at one member, and for which keys."""

    def __init__(self, host: Host, group: Group) -> None:
        self.host: Final = host
        self.group: Final = group
        self.claimants: Final[dict[Claimant, None]] = {}
        self._waiting: Final[dict[bytes, dict[Claim, None]]] = {}  # By the key whose end is waited for.
        group.observers.append(self._applied)
        group.on_installed.append(self._look_again)

    def stop(self) -> None:
        """The member is about to stop: whoever waits has to ask another one."""
        for claimant in list(self.claimants):
            claimant.stop()

    def query(self, query: Any) -> Any:
        """Ask the applied state: the answer, or None if the state can't be read, which ends this member."""
        try:
            return self.group.query(query)
        except StorageError as failure:
            self.host.fail(failure)
            return None

    def wait(self, claim: Claim, key: bytes) -> None:
        """`claim.look` will be called when the key may be gone."""
        self._waiting.setdefault(key, {})[claim] = None
        claim.waits_for = key

    def withdraw(self, claim: Claim) -> None:
        """It doesn't wait any more."""
        waiting = self._waiting.get(claim.waits_for)
        if waiting is not None:
            waiting.pop(claim, None)
            if not waiting:
                del self._waiting[claim.waits_for]

    def _applied(self, entry: Entry, outcome: Outcome) -> None:
        if self._waiting:
            for change in outcome.changes:
                if change.new is None and change.key in self._waiting:
                    for claim in self._waiting.pop(change.key):
                        self.host.clock.call_soon(claim.look)

    def _look_again(self) -> None:
        """A state that was installed doesn't tell what has changed."""
        claims = [claim for waiting in self._waiting.values() for claim in waiting]
        self._waiting.clear()
        for claim in claims:
            self.host.clock.call_soon(claim.look)


class Claim:
    """One caller's claim on a name, from the asking until it is granted or given up."""

    def __init__(self, claims: Claims, name: bytes, lease: LeaseId, value: bytes, settled: Settled) -> None:
        """`lease` 0: one of its own, for a minute. `begin` it."""
        self.lease: LeaseId = lease
        self.key = b""  # Known once there is a lease, as the token once there is a key.
        self.token = 0
        self.made_at = 0  # The store's revision when the claim was made,
        self.granted_at = 0  # and when it was found to be granted.
        self.waits_for = b""
        self.claims: Final = claims
        self._name: Final = name
        self._value: Final = value
        self._settled: Final = settled
        self._own_lease: Final = not lease
        self._over = False

    def begin(self) -> None:
        """Put the key."""
        if self.lease:
            self._put()
        else:
            self.lease = new_id(self.claims.host.dice)
            self._propose(LeaseGrant(self.lease, SESSION_TTL), self._granted)

    def cancel(self) -> None:
        """The caller has left: nobody else should wait for a key that nobody wants."""
        if not self._over:
            self._over = True
            self.claims.withdraw(self)
            self._clean_up()

    def look(self) -> None:
        """Whose turn is it?"""
        if self._over:
            return
        found = self._predecessor()
        if found is None:
            self._settle(NotExecuted("this member has failed"))
        elif found.kvs:
            self.claims.wait(self, found.kvs[0].key)
        else:
            self.claims.group.read_index(self._readable)

    def _granted(self, done: Any) -> None:
        if isinstance(done, LeaseGranted):
            self._put()
        else:
            self._settle(done)

    def _put(self) -> None:
        self.key = key = key_of(self._name, self.lease)
        absent = Compare(key, b"", Target.CREATE, Relation.EQUAL, 0)
        self._propose(Txn((absent,), (Put(key, self._value, self.lease),), (Range(key),)), self._was_put)

    def _was_put(self, done: Any) -> None:
        if not isinstance(done, TxnDone):
            self._settle(done)
            return
        self.made_at = self.granted_at = done.revision
        self.token = _token(done)
        if not done.succeeded and _pair(done).value != self._value:  # This lease has claimed the name before.
            change = if_created_in(self.key, self.token, Put(self.key, self._value, self.lease))
            self._propose(change, self._was_changed)
        else:
            self._look_at_once()

    def _was_changed(self, done: Any) -> None:
        if not isinstance(done, TxnDone):
            self._settle(done)
        elif not done.succeeded:
            self._settle(NOT_LEADER)
        else:
            self._look_at_once()

    def _look_at_once(self) -> None:
        """What has just been executed here is recent enough, if the key is there still, and the first."""
        before = self._predecessor()
        if before is not None and not before.kvs and self._seen_at():
            self._settle(None)
        else:
            self.look()

    def _readable(self, error: OstrakaError | None) -> None:
        """Nobody is before us; are we still there?"""
        if self._over:
            return
        if error is not None:
            self._settle(error)
        elif revision := self._seen_at():
            self.granted_at = revision
            self._settle(None)
        else:
            self._settle(SESSION_EXPIRED)

    def _predecessor(self) -> RangeDone | None:
        """The key that was created last before ours."""
        query = Range(
            prefix_of(self._name),
            self._name + b"0",
            1,
            sort_order=SortOrder.DESCEND,
            sort_target=SortTarget.CREATE,
            keys_only=True,
            max_create_revision=self.token - 1,
        )
        found: RangeDone | None = self.claims.query(query)
        return found

    def _seen_at(self) -> int:
        """The revision of the state if our key is in it, else 0."""
        found: RangeDone | None = self.claims.query(Range(self.key))
        there = found is not None and found.kvs and found.kvs[0].create_revision == self.token
        return found.revision if found is not None and there else 0

    def _settle(self, result: Failure | OstrakaError | None) -> None:
        self._over = True
        if result is not None:
            self._clean_up()
        self._settled(result)

    def _clean_up(self) -> None:
        """Best effort: what remains goes with its lease."""
        if self._own_lease:
            self._tell(LeaseRevoke(self.lease))
        elif self.token:
            self._tell(if_created_in(self.key, self.token, DeleteRange(self.key)))

    def _tell(self, command: Any) -> None:
        self.claims.group.propose(Request(encode(command)), lambda reply, error: None)

    def _propose(self, command: Any, then: Callable[[Any], None]) -> None:
        """Go on with the reply, or the error, unless the caller has left meanwhile."""

        def answered(reply: bytes | None, error: OstrakaError | None) -> None:
            result = error if reply is None else decode_reply(reply)
            if not self._over:
                then(result)
            elif isinstance(result, TxnDone) and not self.token:
                self.token = _token(result)
                self._clean_up()

        self.claims.group.propose(Request(encode(command)), answered)


def _pair(done: TxnDone) -> KeyValue:
    """What was read of a key that was there already."""
    [found] = done.responses
    assert isinstance(found, RangeDone) and len(found.kvs) == 1, f"a key that is not absent was read as {found}"
    return found.kvs[0]


def _token(done: TxnDone) -> int:
    """The revision in which the key was created: just now, or before."""
    return done.revision if done.succeeded else _pair(done).create_revision


class Claimant:
    """A call that is answered when its claim is granted."""

    def __init__(
        self, member: Member, claims: Claims, tally: Tally, call: ServerCall, pack: Callable[[Packer, Claim], bytes]
    ) -> None:
        self._member: Final = member
        self._claims: Final = claims
        self._tally: Final = tally
        self._call: Final = call
        self._pack: Final = pack
        self._claim: Claim

    def claim(self, name: bytes, lease: LeaseId, value: bytes) -> None:
        """Begin."""
        self._claim = Claim(self._claims, name, lease, value, self._settled)
        self._claims.claimants[self] = None
        self._call.on_cancel = self._cancelled
        self._claim.begin()

    def stop(self) -> None:
        """The member is about to stop."""
        del self._claims.claimants[self]
        self._claim.cancel()
        refuse(self._call, self._tally, SERVER_STOPPED)

    def _cancelled(self) -> None:
        """The client has left, or its time is up."""
        if self._claims.claimants.pop(self, self) is None:
            self._tally.handled[Status.CANCELLED] += 1
            self._claim.cancel()

    def _settled(self, result: Failure | OstrakaError | None) -> None:
        del self._claims.claimants[self]
        if result is None:
            self._tally.handled[Status.OK] += 1
            self._call.send(self._pack(self._member.packer, self._claim))
            self._call.finish(trailers=((FENCING_TOKEN, str(self._claim.token)),))
        elif isinstance(result, Failure):
            refuse(self._call, self._tally, (Status.UNKNOWN, result.message))
        else:
            refuse(self._call, self._tally, self._member.refusal(result))
