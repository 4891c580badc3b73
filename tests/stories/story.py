"""A scripted scene of one consensus group, played without chance, and its transcript.

Nothing happens on the stage unless the scene says so: whose patience ends, who hears whom, whose disk
is slow. What then follows from it is in the transcript, in words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ostraka.consensus.multipaxos.replica import Replica as PaxosReplica
from ostraka.model import events as ev
from ostraka.model.engine import Status
from ostraka.model.ids import MILLISECOND, Index, NodeId, Token
from ostraka.model.requests import Entry, Members, Request

from .stage import Letter, Rule, Stage
from .words import cargo, words


class Story(Stage):
    """What a scene can ask for and look at. Times are in milliseconds. See `Stage` for what it checks."""

    # What the scene asks for.

    def restart(self, n: NodeId) -> None:
        self.crash(n)
        self._note("", f"n{n} starts")
        self.start(n)

    def damage(self, n: NodeId) -> None:
        """The node's log is found damaged at its restart; only the second copy of term and vote is left."""
        if self.nodes[n].up:
            self.crash(n)
        node = self.nodes[n]
        node.disk = [record for record in node.disk if not record.mark()][-1:]
        self._note("", f"n{n} starts, and its log is damaged")
        self.start(n, refilling=True)

    def propose(self, n: NodeId, *names: str) -> Token:
        """Requests of one turn. Gives the token of the last; see `answer`."""
        tokens = [self._token(n, name) for name in names]
        asked = tuple((token, Request(name.encode())) for token, name in zip(tokens, names, strict=True))
        self._tell(self.nodes[n], ev.Propose(asked))
        return tokens[-1]

    def read(self, n: NodeId) -> Token:
        token = self._token(n, "read")
        self._tell(self.nodes[n], ev.Read((token,)))
        return token

    def transfer(self, n: NodeId, to: NodeId) -> Token:
        """Ask the node to hand leadership to another one."""
        token = self._token(n, f"transfer to n{to}")
        self._tell(self.nodes[n], ev.TransferLeadership(token, to))
        return token

    def change(self, n: NodeId, *voters: NodeId | str) -> Token:
        """Ask the node for this configuration: voters, and after the word `learning` learners."""
        split = voters.index("learning") if "learning" in voters else len(voters)
        ids = [number for number in voters if isinstance(number, int)]
        members = Members(tuple(ids[:split]), tuple(ids[split:]))
        token = self._token(n, f"wants {words(members)}")
        self._tell(self.nodes[n], ev.ChangeMembers(token, members))
        return token

    def tell(self, n: NodeId, *happened: ev.Event) -> None:
        """Make these events happen, as they are."""
        self._tell(self.nodes[n], *happened)

    def wake(self, n: NodeId) -> None:
        """Let the node's clock run to its deadline."""
        node = self.nodes[n]
        assert node.replica.deadline is not None, f"n{n} waits for nothing"
        node.clock = max(node.clock, node.replica.deadline)
        self._tell(node, ev.Wake())

    def campaign(self, n: NodeId) -> None:
        """Let the node lose its patience."""
        for _ in range(5):
            self.wake(n)
            if self.role(n) != "follower":
                return
        raise AssertionError(f"n{n} does not campaign")

    def elect(self, n: NodeId, quietly: bool = False) -> None:
        """Make the node lead; `quietly`: nobody hears from it once it does."""
        for _ in range(5):
            for other in self._side(n) - {n}:
                self.tire(other)
            self.campaign(n)
            self.settle(until=lambda: self.role(n) == "leader")
            if self.role(n) == "leader":
                break
        assert self.role(n) == "leader", f"n{n} was not elected:\n" + "\n".join(self.transcript)
        if quietly:
            self.rules.append(Rule(None, n, None, lose=True))
        self.settle()
        if quietly:
            self.rules.pop()

    def tire(self, n: NodeId) -> None:
        """Let all but the last instant of the node's patience pass: it no longer believes in a leader."""
        node = self.nodes[n]
        if node.up and node.replica.deadline is not None and self.role(n) != "leader":
            node.clock = max(node.clock, node.replica.deadline - 1)

    def heartbeat(self, n: NodeId, times: int = 1) -> None:
        for _ in range(times):
            self.wake(n)
            self.settle()

    def advance(self, milliseconds: float) -> None:
        """Let time pass on all nodes alike. Messages take none."""
        left = int(milliseconds * MILLISECOND)
        while True:
            self.settle()
            up = [node for node in self.nodes.values() if node.up and node.replica.deadline is not None]
            passed = max(0, min([left, *(node.replica.deadline - node.clock for node in up)]))  # type: ignore[operator]
            for node in self.nodes.values():
                node.clock += passed
            left -= passed
            due = [node for node in up if node.replica.deadline <= node.clock]  # type: ignore[operator]
            if not due or not left:
                return
            self._tell(due[0], ev.Wake())

    def luck(self, n: NodeId, share: float) -> None:
        """How the node's dice fall from now on: its waits are 1 + `share` election timeouts."""
        self.nodes[n].dice.luck = share

    def only(self, *nodes: NodeId) -> None:
        """Only these nodes hear one another, and all others hear nobody."""
        self.partition(nodes)

    def partition(self, *sides: Iterable[NodeId]) -> None:
        self.sides = [set(side) for side in sides]

    def heal(self) -> None:
        self.sides = [set(self.nodes)]

    def hold(self, kind: str | None = None, sender: NodeId | None = None, to: NodeId | None = None) -> None:
        """Keep such letters back, until `deliver`."""
        self.rules.append(Rule(kind, sender, to))

    def lose(self, kind: str | None = None, sender: NodeId | None = None, to: NodeId | None = None) -> None:
        """Lose such letters from now on."""
        self.rules.append(Rule(kind, sender, to, lose=True))

    def free(self) -> None:
        """Let the rules of `hold` and `lose` end. What was held stays held, until `deliver`."""
        self.rules.clear()

    def drop(self, kind: str | None = None, sender: NodeId | None = None, to: NodeId | None = None) -> None:
        """The letters held of this kind are lost."""
        for letter in [letter for letter in self.kept if Rule(kind, sender, to).about(letter)]:
            self.kept.remove(letter)
            self._note("losses", f"{letter} is lost")

    def deliver(
        self,
        kind: str | None = None,
        sender: NodeId | None = None,
        to: NodeId | None = None,
        keep: bool = False,
        first: bool = False,
        last: bool = False,
    ) -> list[Letter]:
        """Hand over the letters held of this kind, in their order, or only the `first` or the `last` of them.

        `keep`: they can be delivered again.
        """
        chosen = [letter for letter in self.kept if Rule(kind, sender, to).about(letter)]
        chosen = chosen[:1] if first else chosen[-1:] if last else chosen
        for letter in chosen:
            self.post(letter)
        if not keep:
            self.kept = [letter for letter in self.kept if not any(letter is other for other in chosen)]
        return chosen

    def break_link(self, n: NodeId, peer: NodeId) -> None:
        """The node is told that its link to the peer was down, so that messages may be lost."""
        self._note("", f"n{n} hears that its link to n{peer} broke")
        self._tell(self.nodes[n], ev.LinkDown(peer))

    def delay_saves(self, n: NodeId) -> None:
        """From now on the node's saves wait for `save`."""
        self.nodes[n].slow = True

    def save(self, n: NodeId, saves: int | None = None) -> None:
        """Finish the node's oldest saves, by default all."""
        self._finish(self.nodes[n], saves)

    def quick_saves(self, n: NodeId) -> None:
        self.nodes[n].slow = False

    def fail_disk(self, n: NodeId) -> None:
        self._note("", f"n{n} fails to save")
        self.nodes[n].saving.clear()
        self.nodes[n].slow = True
        self._tell(self.nodes[n], ev.SaveFailed("no space"))

    def flush(self, n: NodeId) -> None:
        """Make the node's applied state durable, from now on at once."""
        node = self.nodes[n]
        node.flushes, node.durable = True, node.state
        self._tell(node, ev.Applied(node.state[0].index, node.state[0].index))

    # What the scene looks at.

    def status(self, n: NodeId) -> Status:
        return self.nodes[n].replica.status()

    def role(self, n: NodeId) -> str:
        return self.status(n).role

    def term(self, n: NodeId) -> int:
        return self.status(n).epoch

    def committed(self, n: NodeId) -> Index:
        return self.status(n).commit

    def entries(self, n: NodeId) -> tuple[Entry, ...]:
        """The node's log, as far as it is kept."""
        log: Any = self.nodes[n].replica.log  # type: ignore[attr-defined]  # Every engine has one; none promises it.
        if isinstance(self.nodes[n].replica, PaxosReplica):
            return tuple(pvalue.value for pvalue in log.after(log.base))
        return tuple(log.entries(log.first, log.last.index))

    def log(self, n: NodeId) -> list[str]:
        """What the node's log carries."""
        return [cargo(entry) for entry in self.entries(n)]

    def terms(self, n: NodeId) -> list[int]:
        return [entry.epoch for entry in self.entries(n)]

    def state(self, n: NodeId) -> str:
        """What the node has executed."""
        return " ".join(self.nodes[n].state[1])

    def answer(self, token: Token) -> str | None:
        """How the request ended: `committed at 2`, `sees a b`, `rejected: …`, `lost`, `crashed`; None: not yet."""
        return self.answers.get(token)

    def under_way(self, kind: str, sender: NodeId | None = None, to: NodeId | None = None) -> list[ev.Message]:
        """The messages of this kind that are held or not yet delivered."""
        rule = Rule(kind, sender, to)
        return [letter.message for letter in [*self.kept, *self.wire] if rule.about(letter)]

    def said(self, part: str) -> int:
        """How many lines of the transcript have this in them."""
        return sum(part in line for line in self.transcript)
