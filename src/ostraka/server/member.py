"""This member as its services see it: the default keyspace's group, who we are, and the calls under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ostraka.api.packing import Packer
from ostraka.errors import OstrakaError, StorageError
from ostraka.model.ids import Duration, Epoch, Instant, NodeId
from ostraka.node.group import Group
from ostraka.node.host import Host
from ostraka.server.calls import (
    NO_LEADER,
    NOT_FOR_LEARNERS,
    OVERHEAD,
    REFILLING,
    Refusal,
    Tally,
    Unread,
    Waiting,
    refusal_of,
    refuse,
)
from ostraka.transport.http2.server import ServerCall

if TYPE_CHECKING:
    from ostraka.server.watch import Watch


class Member:
    """One member, serving the default keyspace."""

    def __init__(
        self,
        host: Host,
        group: Group,
        addresses: Mapping[NodeId, str],
        *,
        bound: Duration,
        patience: Duration,
        max_request_bytes: int,
        max_txn_ops: int,
        size: Callable[[], int],
    ) -> None:
        """`addresses`: each member's peer URL. `size`: bytes of state.

        `bound`: how long a call may wait. `patience`: how long a stream that wants a leader goes on without one.
        """
        self.host: Final = host
        self.group: Final = group
        self.addresses: Final = addresses
        self.bound: Final = bound
        self.patience: Final = patience
        self.max_request_bytes: Final = max_request_bytes
        self.largest_message: Final = max_request_bytes + OVERHEAD
        self.max_txn_ops: Final = max_txn_ops
        self.size: Final = size
        self.id: Final = host.identity.member
        self.cluster_id: Final = host.identity.cluster
        self.waiting: Final[dict[Waiting, Instant]] = {}  # In the order of their deadlines, since the bound is one.
        self.on_stop: Final[list[Callable[[], None]]] = []  # Streams without an end of their own have to be ended.
        self.watch: Watch | None = None  # The service, once there is one: for those who look at its numbers.
        self.tallies: Final[dict[str, Tally]] = {}
        self.unread: Final = Unread()
        self._restored: Final = group.status().epoch  # The group tells its epoch only from its first turn on.
        self._packer = Packer(self.cluster_id, self.id, self.term)
        self._need_leader: Final[dict[ServerCall, Callable[[Refusal], None]]] = {}
        self._led: Instant = host.clock.now()  # When a leader was last known.

    @property
    def failed(self) -> OstrakaError | None:
        """Why this member serves nothing any more, if that is so."""
        return self.host.failed

    @property
    def term(self) -> Epoch:
        """The epoch as clients see it: never lower than before, since Patroni takes that for a stale member."""
        return max(self.group.epoch, self._restored)

    @property
    def packer(self) -> Packer:
        """Packs replies with the present term in their headers."""
        term = self.term
        if self._packer.term != term:
            self._packer = Packer(self.cluster_id, self.id, term)
        return self._packer

    def tally(self, path: str) -> Tally:
        """The counts of this method."""
        return self.tallies.setdefault(path, Tally(path, self.unread))

    @property
    def learns(self) -> bool:
        """It doesn't vote, so clients are to go elsewhere."""
        return self.id in self.group.meta.members.learners

    def gate(self, call: ServerCall, learner: bool = False) -> Refusal | None:
        """Why a call gets no further: this member serves nobody now; or it knows no leader, and the call asks for that;
        or it doesn't vote (unless `learner`).
        """
        if self.group.refilling:
            return REFILLING
        if not learner and self.learns:
            return NOT_FOR_LEARNERS
        if call.head.metadata.get("hasleader") == "true" and not self.group.leader:
            return NO_LEADER
        return None

    def require_leader(self, call: ServerCall, end: Callable[[Refusal], None]) -> None:
        """`end` this stream, if it wants that, once no leader has been known for some time. `leave` when it is over."""
        if call.head.metadata.get("hasleader") == "true":
            self._need_leader[call] = end

    def leave(self, call: ServerCall) -> None:
        """This stream is over."""
        self._need_leader.pop(call, None)

    def stop(self) -> None:
        """This member is about to stop: end what would not end by itself."""
        for end in self.on_stop:
            end()

    def query(self, query: Any) -> Any:
        """Ask the applied state: the answer, or None if the state can't be read, which ends this member."""
        try:
            return self.group.query(query)
        except StorageError as failure:
            self.host.fail(failure)
            return None

    def refusal(self, error: OstrakaError) -> Refusal:
        """What etcd would say where we have met this error."""
        return refusal_of(error, self.failed)

    def expire(self, now: Instant) -> None:
        """Tell the callers who have waited for too long. What they asked for may still happen."""
        if self.group.leader:
            self._led = now
        elif now - self._led >= self.patience:
            for end in list(self._need_leader.values()):
                end(NO_LEADER)
        late = []
        for waiting, deadline in self.waiting.items():
            if deadline > now:
                break
            late.append(waiting)
        for waiting in late:
            del self.waiting[waiting]
            refuse(waiting.call, waiting.tally, waiting.lateness())
