"""What befalls a cluster, each kind by its name.

Follows:  swarm testing (Groce et al., ISSTA '12): each run draws which kinds there are and how bad each is, since a run
          with everything in it hides what only one of them alone would show.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from ostraka.database.commands import ListMembers
from ostraka.database.commands import Members as Known
from ostraka.model.events import ForgetLeader
from ostraka.model.ids import MILLISECOND, SECOND, Dice, Duration, Index, NodeId, roll
from ostraka.simulation.atlas import Damage, rot_copy, rot_log
from ostraka.simulation.disk import SYNC_TIME

if TYPE_CHECKING:
    from ostraka.node.group import Group
    from ostraka.simulation.world import World


MOST_DRIFT: Final = 100_000  # Parts per million by which a clock runs fast or slow.
APART: Final = 222_223  # By so many one clock then runs faster than another: 1.1 / 0.9.


class Misfortune:
    """One kind. `strength` is 1, 2 or 3."""

    name: ClassVar[str]

    def __init__(self, strength: int, dice: Dice) -> None:
        self.strength: Final = strength
        self._dice: Final = dice
        self.over = False

    def begin(self, world: World) -> None:
        """From now on."""
        for node in world.nodes:
            self.befall(world, node)

    def befall(self, world: World, node: NodeId) -> None:
        """On this node; it may be one that has just come."""

    def end(self, world: World) -> None:
        """No more, and what can be mended is mended."""
        self.over = True

    def _between(self, low: Duration, high: Duration) -> Duration:
        return low + roll(self._dice, high - low + 1)

    def _any(self, nodes: list[NodeId]) -> NodeId:
        return nodes[roll(self._dice, len(nodes))]


class Recurring(Misfortune):
    """Strikes now and then."""

    every: ClassVar[Duration]  # On average, at strength 1.

    def begin(self, world: World) -> None:
        world.at(world.now + self._between(0, 2 * self.every // self.strength), partial(self._strike, world))

    def strike(self, world: World) -> None:
        raise NotImplementedError

    def _strike(self, world: World) -> None:
        if not self.over:
            world.note(self.name)
            self.strike(world)
            self.begin(world)


class Losses(Misfortune):
    name = "frames are lost"

    def begin(self, world: World) -> None:
        world.wires.weather.loss_permille = (10, 50, 200)[self.strength - 1]

    def end(self, world: World) -> None:
        world.wires.weather.loss_permille = 0


class Doubles(Misfortune):
    name = "frames come twice"

    def begin(self, world: World) -> None:
        world.wires.weather.double_permille = (20, 100, 300)[self.strength - 1]

    def end(self, world: World) -> None:
        world.wires.weather.double_permille = 0


class Delays(Misfortune):
    name = "frames are late and overtake one another"

    def begin(self, world: World) -> None:
        world.wires.weather.delay = (MILLISECOND // 2, 2 * MILLISECOND, 8 * MILLISECOND)[self.strength - 1]
        world.wires.weather.spread = (5, 30, 150)[self.strength - 1] * MILLISECOND

    def end(self, world: World) -> None:
        world.wires.weather.delay = MILLISECOND // 10
        world.wires.weather.spread = 0


class Silence(Misfortune):
    name = "broken links are not always noticed"

    def begin(self, world: World) -> None:
        world.wires.weather.silent = True

    def end(self, world: World) -> None:
        world.wires.weather.silent = False


class Breaks(Recurring):
    name = "a connection breaks"
    every = 200 * MILLISECOND

    def strike(self, world: World) -> None:
        one = self._any(world.nodes)
        other = self._any(world.nodes)
        if one != other:
            world.wires.break_link((one, other))
            world.wires.break_link((other, one))


class Partitions(Recurring):
    name = "the network parts"
    every = 600 * MILLISECOND

    def strike(self, world: World) -> None:
        world.counts["a partition"] += 1
        nodes = world.nodes
        shape = roll(self._dice, 5)
        if shape == 0:  # One node hears nothing, or is not heard.
            lonely = self._any(nodes)
            links = [(lonely, other) for other in nodes if other != lonely]
            if self._dice.getrandbits(1):
                links = [(to, sender) for sender, to in links]
        elif shape == 1:  # Two sides.
            side = nodes[roll(self._dice, len(nodes)) :] if self._dice.getrandbits(1) else nodes[::2]
            links = [(a, b) for a in nodes for b in nodes if (a in side) != (b in side)]
        elif shape == 2:  # Some directions of some pairs.
            links = [(a, b) for a in nodes for b in nodes if a != b and roll(self._dice, 3) == 0]
        else:  # The leader, or who thinks so, alone.
            lonely = next((node for node in nodes if world.leads(node)), nodes[0])
            links = [(a, b) for a in nodes for b in nodes if a != b and lonely in (a, b)]
        world.wires.cut(links)
        lasting = self._between(50 * MILLISECOND, 800 * MILLISECOND)
        world.at(world.now + lasting, world.wires.mend)

    def end(self, world: World) -> None:
        super().end(world)
        world.wires.mend()


class Crashes(Recurring):
    name = "a process is killed"
    every = 1200 * MILLISECOND

    def strike(self, world: World) -> None:
        nodes = world.nodes
        leader = next((node for node in nodes if world.leads(node)), nodes[0])
        world.crash(leader if self._dice.getrandbits(1) else self._any(nodes))


class CrashesInside(Recurring):
    name = "a process will die in the midst of a turn"
    every = 1200 * MILLISECOND

    def strike(self, world: World) -> None:
        world.light_fuse(self._any(world.nodes), 1 + roll(self._dice, 60))


class CrashesAtSyncs(Recurring):
    name = "a process will die soon after it has asked for a sync"
    every = 600 * MILLISECOND

    def strike(self, world: World) -> None:
        trap = ("sync_dir", "remove", "flush", "open")[roll(self._dice, 4)]
        world.members[self._any(world.nodes)].computer.trap = trap if roll(self._dice, 4) == 0 else "sync wal"


class PowerCuts(Recurring):
    name = "the power goes"
    every = 3 * SECOND

    def strike(self, world: World) -> None:
        world.counts["a power cut"] += 1
        for node in world.nodes:
            world.crash(node)


class LongAbsences(Misfortune):
    name = "who died may stay away for long"

    def begin(self, world: World) -> None:
        world.absence = (200, 500, 1200)[self.strength - 1] * MILLISECOND

    def end(self, world: World) -> None:
        world.absence = 20 * MILLISECOND


class Relapses(Misfortune):
    name = "who has just come back may die again"

    def begin(self, world: World) -> None:
        world.relapses = (100, 200, 400)[self.strength - 1]

    def end(self, world: World) -> None:
        world.relapses = 0


class Pauses(Recurring):
    name = "a process stands still for a while"
    every = 500 * MILLISECOND

    def strike(self, world: World) -> None:
        world.pause(self._any(world.nodes), self._between(20 * MILLISECOND, 400 * MILLISECOND))


class Handovers(Recurring):
    name = "a leader is asked to hand over"
    every = 800 * MILLISECOND

    def strike(self, world: World) -> None:
        leader = next((node for node in world.nodes if world.leads(node)), None)
        if leader is not None:
            world.hand_over(leader, self._any(world.nodes))


class Forgetting(Recurring):
    name = "a node is told that its leader is gone"
    every = 400 * MILLISECOND

    def strike(self, world: World) -> None:
        world.tell(self._any(world.nodes), ForgetLeader())


class SlowDisks(Misfortune):
    name = "syncs are slow, and stall"

    def befall(self, world: World, node: NodeId) -> None:
        faults = world.members[node].disk.faults
        faults.latency = (1, 3, 10)[self.strength - 1] * MILLISECOND
        if self._dice.getrandbits(1):
            faults.stall_permille = (20, 80, 300)[self.strength - 1]
            faults.stall = (30, 100, 400)[self.strength - 1] * MILLISECOND

    def end(self, world: World) -> None:
        for node in world.nodes:
            faults = world.members[node].disk.faults
            faults.latency, faults.stall_permille = SYNC_TIME, 0


class StalledDisks(Recurring):
    name = "a disk does not finish anything for a while"
    every = 1500 * MILLISECOND

    def strike(self, world: World) -> None:
        leader = next((node for node in world.nodes if world.leads(node)), world.nodes[0])
        disk = world.members[leader if self._dice.getrandbits(1) else self._any(world.nodes)].disk
        world.counts["a stalled disk"] += 1
        disk.stall()
        world.at(world.now + self._between(100 * MILLISECOND, 1500 * MILLISECOND), disk.resume)

    def end(self, world: World) -> None:
        super().end(world)
        for node in world.nodes:
            world.members[node].disk.resume()


class TornWrites(Misfortune):
    name = "of what was not synced a part survives a crash"

    def befall(self, world: World, node: NodeId) -> None:
        world.members[node].disk.faults.torn = True


class OwnFlushes(Recurring):
    name = "a table flushes by itself"
    every = 100 * MILLISECOND

    def strike(self, world: World) -> None:
        world.members[self._any(world.nodes)].flush_by_itself()


class FailingDisks(Misfortune):
    name = "syncs fail"

    def befall(self, world: World, node: NodeId) -> None:
        world.members[node].disk.faults.failing_permille = self.strength

    def end(self, world: World) -> None:
        for node in world.nodes:
            world.members[node].disk.faults.failing_permille = 0


class BitRot(Recurring):
    name = "a bit flips on a disk"
    every = 800 * MILLISECOND

    def strike(self, world: World) -> None:
        """Of the log or of the hard state's second copy. Often somebody looks soon: the process dies."""
        node = self._any(world.nodes)
        damage = Damage.COPY if roll(self._dice, 4) == 0 else Damage.LOG
        if world.members[node].has_lost_its_disk or not world.atlas.allows(node, damage):
            return
        where = (rot_copy if damage is Damage.COPY else rot_log)(world.members[node].disk, self._dice)
        if where:
            world.note(f"n{node}: rot in {where}")
            world.counts[f"rot in a {damage}"] += 1
            world.atlas.struck(node, damage)
            if self._dice.getrandbits(1):
                world.crash(node)


class RottenTables(Recurring):
    name = "a table is damaged"
    every = 2 * SECOND

    def strike(self, world: World) -> None:
        node = self._any(world.nodes)
        if any(world.members[each].has_lost_its_disk for each in world.nodes):
            return  # Its table says whose disk is whose.
        if world.atlas.allows(node, Damage.TABLE):
            world.counts["a damaged table"] += 1
            world.atlas.struck(node, Damage.TABLE)
            world.members[node].table_is_damaged = True
            world.crash(node)


class LastCopies(Recurring):
    name = "what a quorum holds will be left with the leader alone"
    every = 800 * MILLISECOND

    def strike(self, world: World) -> None:
        """Half of the others hear nothing for a while; then the rest's logs rot, and the leader is out of reach."""
        leader = next((node for node in world.nodes if world.leads(node)), 0)
        others = [node for node in world.nodes if node != leader]
        if not leader or len(others) < 2:
            return
        turned = roll(self._dice, len(others))
        others = others[turned:] + others[:turned]
        laggards, holders = others[: len(others) // 2], others[len(others) // 2 :]
        self._part(world, laggards)
        world.at(world.now + self._between(20 * MILLISECOND, 200 * MILLISECOND), partial(self._rot, world, holders))

    def _rot(self, world: World, holders: list[NodeId]) -> None:
        leader = next((node for node in world.nodes if world.leads(node)), 0)
        if self.over or not leader or leader in holders:
            return
        for node in holders:
            if world.members[node].has_lost_its_disk or not world.atlas.allows(node, Damage.LOG):
                continue
            if where := rot_log(world.members[node].disk, self._dice):
                world.note(f"n{node}: rot in {where}")
                world.counts["a last copy"] += 1
                world.atlas.struck(node, Damage.LOG)
                world.crash(node)
        world.wires.mend()
        self._part(world, [leader])
        world.at(world.now + self._between(300 * MILLISECOND, 900 * MILLISECOND), world.wires.mend)

    def _part(self, world: World, side: list[NodeId]) -> None:
        world.wires.cut([(a, b) for a in world.nodes for b in world.nodes if (a in side) != (b in side)])

    def end(self, world: World) -> None:
        super().end(world)
        world.wires.mend()


class DamagedPieces(Misfortune):
    name = "pieces of snapshots are damaged on their way"

    def begin(self, world: World) -> None:
        world.wires.weather.damage_permille = (20, 100, 400)[self.strength - 1]

    def end(self, world: World) -> None:
        world.wires.weather.damage_permille = 0


class LostDisks(Recurring):
    name = "a process is started with an empty disk"
    every = SECOND

    def strike(self, world: World) -> None:
        """A member whose own disk a majority knows durably; who of them does not need not be the first to be asked."""
        node = self._any(world.nodes)
        known = world.members[node].group
        if world.atlas.is_closed or len(world.nodes) < 2 or known is None or not _is_registered(known, node):
            return
        index = known.applied  # Whoever has flushed this knows.
        self._wait(world, node, index, 20)

    def _wait(self, world: World, node: NodeId, index: Index, times: int) -> None:
        damaged = world.atlas.damaged
        if self.over or not times or node in damaged or Damage.TABLE in damaged.values():
            return
        if any(world.members[each].has_lost_its_disk for each in world.nodes):
            return
        groups = [world.members[other].group for other in world.nodes if other != node]
        knowing = sum(group is not None and group.flushed >= index for group in groups)
        if 2 * knowing > len(world.nodes):
            world.counts["a lost disk"] += 1
            world.note(f"n{node}: its disk is gone")
            world.members[node].lose_disk()
        else:
            again = partial(self._wait, world, node, index, times - 1)
            world.at(world.now + 20 * MILLISECOND, again)

    def end(self, world: World) -> None:
        super().end(world)
        for node in world.nodes:
            if world.members[node].has_lost_its_disk:
                world.crash(node)
                world.members[node].give_back()


def _is_registered(group: Group, node: NodeId) -> bool:
    """Does the cluster know of its disk?"""
    known: Known = group.query(ListMembers())
    return any(each.member.id == node for each in known.registrations)


class Drift(Misfortune):
    name = "clocks run fast and slow"

    def befall(self, world: World, node: NodeId) -> None:
        most = (1_000, 10_000, MOST_DRIFT)[self.strength - 1]
        world.members[node].computer.drift(roll(self._dice, 2 * most + 1) - most)


class Changes(Recurring):
    name = "members come and go"
    every = 300 * MILLISECOND

    def strike(self, world: World) -> None:
        world.census.strike()


ALL: Final[tuple[type[Misfortune], ...]] = (
    Losses,
    Doubles,
    Delays,
    Silence,
    Breaks,
    Partitions,
    Crashes,
    CrashesInside,
    CrashesAtSyncs,
    PowerCuts,
    LongAbsences,
    Relapses,
    Pauses,
    SlowDisks,
    TornWrites,
    OwnFlushes,
    FailingDisks,
    Drift,
    Handovers,
    Forgetting,
    StalledDisks,
    Changes,
)
DAMAGES: Final[tuple[type[Misfortune], ...]] = (BitRot, RottenTables, LastCopies, LostDisks, DamagedPieces)
"""Those that befall what is stored, most of which only an engine survives that gets back from others what is lost."""


def draw(
    dice: Dice, wanted: Sequence[type[Misfortune]] | None = None, kinds: Sequence[type[Misfortune]] = ALL
) -> list[Misfortune]:
    """Those wanted, at their worst; or, if none are named, each of these kinds or not, and how bad."""
    if wanted is not None:
        return [kind(3, dice) for kind in wanted]
    return [kind(1 + roll(dice, 3), dice) for kind in kinds if dice.getrandbits(1)]
