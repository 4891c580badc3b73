"""One member of a simulated cluster: a computer, its disk and its table, and the production node that runs there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ostraka.database.commands import MemberInfo
from ostraka.database.machine import Database
from ostraka.errors import Removed, StorageError, WrongIdentity
from ostraka.model.engine import Consensus, Settings
from ostraka.model.ids import MILLISECOND, Duration, NodeId, roll
from ostraka.model.machine import Machine, Outcome, Table
from ostraka.model.requests import Entry, Members
from ostraka.node.group import Group
from ostraka.node.host import DEFAULT_GROUP, Host, Upkeep
from ostraka.server.roster import Roster, other_disk, was_removed
from ostraka.simulation.disk import SimulatedDisk
from ostraka.simulation.process import Computer, Crashed
from ostraka.storage.birth import Birth
from ostraka.storage.identity import Identity
from ostraka.storage.table import MemoryStore

if TYPE_CHECKING:
    from ostraka.simulation.world import World

CLUSTER: Final = 0xC1


def peer_url(node: NodeId) -> str:
    """Where a node would be found."""
    return f"http://n{node}:2380"


class _Judged(Database):
    """The production machine; what it answers to queries is told to the judge."""

    def __init__(self, table: Table, answered: Callable[[Any, Any], None]) -> None:
        super().__init__(table)
        self._answered: Final = answered

    def read(self, query: Any, table: Table) -> Any:
        answer = super().read(query, table)
        self._answered(query, answer)
        return answer


class Plan:
    """What all members of a cluster are started with."""

    def __init__(self, consensus: Consensus, nodes: int, settings: Settings, upkeep: Upkeep) -> None:
        self.consensus: Final = consensus
        self.members: Final = Members(tuple(range(1, nodes + 1)))
        self.settings: Final = settings  # But for the priority, of which it is said whether there are any.
        self.upkeep: Final = upkeep


class Member:
    """It dies and comes back; disk and flushed table stay."""

    def __init__(self, world: World, node: NodeId, plan: Plan, birth: Birth | None = None) -> None:
        """`birth` None: it joins, and learns who the others are when it is first started."""
        self.node: Final = node
        self.computer: Final = Computer(world, node, world.dice(f"loop of n{node}"))
        self.disk = SimulatedDisk(self.computer, world.dice(f"disk of n{node}"))
        self.store = MemoryStore(self._flush)
        self.table_is_damaged = False  # The next life finds that out, and begins with an empty one.
        self.group: Group | None = None  # None while no process runs.
        self.host: Host | None = None
        self.impostor: Group | None = None  # While a process runs there that has come with another disk.
        self.removed = False  # It has learnt that it was: it doesn't start again.
        self._world: Final = world
        self._plan: Final = plan
        self._birth = birth
        self._own: tuple[SimulatedDisk, MemoryStore] | None = None  # What is kept elsewhere while another disk is in.
        self._disowned = False
        self._flush_dice: Final = world.dice(f"table of n{node}")
        self.computer.on_death = self._died
        self.computer.on_turn = self._turned

    def boot(self) -> None:
        """Start a process, unless one runs."""
        if self.computer.process is None:
            self._world.note(f"n{self.node} starts")
            self.computer.boot().post(self._start)

    def crash(self) -> None:
        """The process dies, between two turns."""
        self.computer.died()

    def post(self, callback: Callable[[], None]) -> None:
        """Call in a later turn, unless the process dies before."""
        process = self.computer.process
        if process is not None:
            process.post(callback)

    def _start(self) -> None:
        computer, plan = self.computer, self._plan
        process = computer.process
        assert process is not None, "this is a turn of it"
        birth = self._birth = self._birth or joining(self._world.nodes, self.node)
        disk = (0xD15C00 if self._own is None else 0xBAD000) + self.node
        endpoint = self._world.wires.endpoint(computer, process, disk)
        if self.table_is_damaged:
            self._world.note(f"n{self.node}: the table is damaged")
            self.table_is_damaged, self.store = False, MemoryStore(self._flush)
        dice = Random(f"{self._world.seed}:node n{self.node}, life {computer.life}")
        try:
            host = Host(
                identity=Identity(CLUSTER, self.node, disk),
                clock=process,
                disk=self.disk,
                store=self.store,
                network=endpoint,
                dice=dice,
                addresses={node: urls[0] for node, urls in birth.peer_urls.items()},
                upkeep=plan.upkeep,
                say=lambda line: self._world.note(f"n{self.node}: {line}"),
            )
            host.on_failure = self._failed
            voters = Members(birth.voters)
            settings = msgspec.structs.replace(plan.settings, priority=plan.settings.priority * self.node)
            group = host.open_group(DEFAULT_GROUP, plan.consensus, self._machine, voters, settings)
        except OSError as error:  # The disk failed while it was read; anything worse is a bug.
            self._world.note(f"n{self.node} can't start: {error}")
            self.crash()
            return
        endpoint.was_removed = partial(was_removed, host, group)
        endpoint.other_disk = partial(other_disk, host, group)
        me = MemberInfo(self.node, birth.name, (peer_url(self.node),), ())
        roster = Roster(host, group, birth, me, plan.settings.election_timeout // 2)
        if self._own is not None:
            self.impostor = group
        else:
            self.host, self.group = host, group
            group.observers.append(self._applied)
            self._world.judge.began(self.node, group)
        host.start()
        roster.start()
        if self.group is not None:
            self._world.workload.serve(self.node, host, group)

    def _failed(self, failure: StorageError) -> None:
        """The shell ends the process once those who wait have been told."""
        self._world.note(f"n{self.node}: {failure}")
        self.removed = isinstance(failure, Removed)
        if isinstance(failure, WrongIdentity):
            self._world.counts["an impostor that ended"] += 1
            self._disowned = True
        self.post(_exit)

    def _machine(self, table: Table) -> Machine:
        return _Judged(table, partial(self._world.judge.read, self.node))

    def _flush(self, callback: Callable[[], None]) -> None:
        """A flush of the table takes its time, too."""
        delay: Duration = MILLISECOND + roll(self._flush_dice, 20 * MILLISECOND)
        self.computer.effect("flush of the table")
        self.computer.after(delay, callback)

    def _applied(self, entry: Entry, outcome: Outcome) -> None:
        self._world.judge.applied(self.node, entry, outcome)

    def _turned(self) -> None:
        if self.group is not None:
            self._world.judge.turned(self.node, self.group)
        elif self.impostor is not None:
            epoch = self.impostor.status().epoch
            assert not epoch, f"n{self.node} has come with an empty disk, and speaks in epoch {epoch}"

    def _died(self) -> None:
        self.group = self.host = self.impostor = None
        if self._disowned:
            self.give_back()
        self.disk.crash()
        self.store.crash()
        self._world.died(self.node)

    # Another disk.

    def lose_disk(self) -> None:
        """The process dies, and the next one finds an empty disk in the place of its own."""
        self.crash()
        self._own = (self.disk, self.store)
        self.disk, self.store = SimulatedDisk(self.computer, self._flush_dice), MemoryStore(self._flush)

    def give_back(self) -> None:
        """The disk has been found. No process runs, or it is dying."""
        if self._own is not None:
            self.disk, self.store = self._own
        self._own, self._disowned = None, False

    @property
    def has_lost_its_disk(self) -> bool:
        return self._own is not None

    def flush_by_itself(self) -> None:
        """What RocksDB may do at any time."""
        if self.group is not None:
            self.post(partial(self.store.flush, lambda failure: None))


def joining(there: Sequence[NodeId], node: NodeId) -> Birth:
    """What a newcomer is told when it asks who the members are."""
    return Birth("", (), {each: (peer_url(each),) for each in there}, f"n{node}")


def _exit() -> None:
    raise Crashed
