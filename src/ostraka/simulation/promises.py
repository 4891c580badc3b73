"""What a Raft node has said to others it must remember, whatever becomes of its process.

Evidence that every Save was durable before the Send that told of it: the messages themselves are the promises. (Raft,
Figure 2: "Updated on stable storage before responding to RPCs")
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ostraka.consensus.raft.messages import (
    Append,
    Appended,
    AskPreVote,
    PreVote,
    RaftMessage,
    RequestVote,
    Term,
    Vote,
)
from ostraka.model.ids import Index, NodeId
from ostraka.transport import wire

_decode = msgspec.msgpack.Decoder(RaftMessage).decode


class Promises:
    """Terms, votes and copies, as the members of one group have told them to others."""

    def __init__(self) -> None:
        self.term: Final[dict[NodeId, Term]] = {}
        self.vote: Final[dict[tuple[NodeId, Term], NodeId]] = {}
        self.match: Final[dict[NodeId, dict[Term, Index]]] = {}  # What each leader was told.
        self.commit: Final[dict[NodeId, Index]] = {}

    def sent(self, node: NodeId, to: NodeId, frame: bytes) -> Any:
        """A frame leaves a node. Returns the message in it, None for one about a snapshot."""
        said = wire.decode_frame(frame)
        if not isinstance(said, wire.Said):
            return None
        message = _decode(said.message)
        if isinstance(message, AskPreVote | PreVote):
            return message  # These promise nothing.
        if message.term > self.term.get(node, 0):
            self.term[node] = message.term
        if isinstance(message, RequestVote):
            self._vote(node, message.term, node)
        elif isinstance(message, Vote) and message.granted:
            self._vote(node, message.term, to)
        elif isinstance(message, Appended) and message.ok:
            told = self.match.setdefault(node, {})
            told[message.term] = max(told.get(message.term, 0), message.match)
        elif isinstance(message, Append):
            self.commit[node] = max(self.commit.get(node, 0), message.commit)
        return message

    def turned(self, node: NodeId, replica: Any) -> None:
        """A later leader may have cut off what an earlier one was told of."""
        self._cut(node, replica.log.last.index)

    def began(self, node: NodeId, replica: Any) -> None:
        """A new life must know what the ones before have told."""
        term = self.term.get(node, 0)
        assert replica.term >= term, f"n{node} begins in term {replica.term}, and has spoken in term {term}"
        voted = self.vote.get((node, replica.term))
        assert voted is None or replica.voted_for == voted, (
            f"n{node} has voted for n{voted} in term {replica.term}, and remembers {replica.voted_for}"
        )
        last = replica.log.last
        for leader, match in self.match.get(node, {}).items():
            cut = last.epoch > leader  # By a later one, in the very turn in which the node died.
            assert cut or last.index >= match or replica.refill is not None, (
                f"n{node} begins with a log up to {last}, and has told leader {leader} that it holds {match}"
            )
        self._cut(node, last.index)

    def _cut(self, node: NodeId, last: Index) -> None:
        told = self.match.get(node, {})
        for leader, match in told.items():
            told[leader] = min(match, last)

    def _vote(self, node: NodeId, term: Term, candidate: NodeId) -> None:
        first = self.vote.setdefault((node, term), candidate)
        assert first == candidate, f"n{node} votes for n{candidate} in term {term}, in which it voted for n{first}"
