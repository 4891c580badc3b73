"""What orchestrators ask: /health in etcd's old words, /livez and /readyz as lists of checks, all on one member.

`/livez` asks whether this process should be restarted, so it needs no other member. `/readyz` asks whether this member
can serve clients. `?exclude=NAME` leaves a check out, `?verbose` lists them all, and `/readyz/NAME` is one alone.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, UntypedMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ostraka.errors import Corruption, OstrakaError
from ostraka.model.ids import SECOND
from ostraka.server.calls import NO_LEADER, TIMED_OUT
from ostraka.server.member import Member

Check = Callable[[], Awaitable[str]]
"""Why it fails; "" if it passes."""


class Probes(Collector):
    """The checks of one member, and how often each of them passed and failed."""

    def __init__(self, member: Member) -> None:
        self.member: Final = member
        self.checks: Final[dict[str, dict[str, Check]]] = {
            "livez": {"serializable_read": self.serializable_read},
            "readyz": {
                "data_corruption": self.data_corruption,
                "serializable_read": self.serializable_read,
                "linearizable_read": self.linearizable_read,
                "non_learner": self.non_learner,
            },
        }
        self.counts: Final[Counter[tuple[str, str, bool]]] = Counter()  # By kind, name, and whether it passed.
        self.last: Final[dict[tuple[str, str], bool]] = {}
        self.health_counts: Final[Counter[bool]] = Counter()

    def routes(self) -> list[Route]:
        """Where they are asked for."""
        found = [Route("/health", self.health, methods=["GET"])]
        for kind in self.checks:
            found.append(Route(f"/{kind}", self.answer, methods=["GET"]))
            found += [Route(f"/{kind}/{name}", self.answer, methods=["GET"]) for name in self.checks[kind]]
        return found

    async def health(self, request: Request) -> Response:
        """etcd's health: `serializable=true` asks only whether this member answers."""
        reason = self.refilling()
        if reason:
            pass
        elif request.query_params.get("serializable") != "true":
            led = self.member.group.leader or self.member.failed is not None
            if not led:
                reason = "RAFT NO LEADER"
            elif error := await self.linearizable_read():
                reason = f"RANGE ERROR:{error}"
        elif error := await self.serializable_read():
            reason = f"RANGE ERROR:{error}"
        self.health_counts[not reason] += 1
        body = json.dumps({"health": "false" if reason else "true", "reason": reason}, separators=(",", ":"))
        return PlainTextResponse(f"{body}\n" if reason else body, status_code=503 if reason else 200)

    async def answer(self, request: Request) -> Response:
        """All checks of a kind, or one of them."""
        _, kind, *names = request.url.path.split("/")
        excluded = set() if names else set(request.query_params.getlist("exclude"))
        lines, failed = "", False
        for name, check in self.checks[kind].items():
            if name in excluded or (names and name not in names):
                continue
            reason = await check()
            lines += f"[-]{name} failed: {reason}\n" if reason else f"[+]{name} ok\n"
            failed = failed or bool(reason)
            self.counts[kind, name, not reason] += 1
            self.last[kind, name] = not reason
        headers = {"x-content-type-options": "nosniff"}
        if failed:
            return PlainTextResponse(lines + "\n", status_code=503, headers=headers)
        return PlainTextResponse((lines if "verbose" in request.query_params else "") + "ok\n", headers=headers)

    def describe(self) -> list[Metric]:
        """Nothing: names need not be known before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The counts, as /metrics shows them."""
        for name, passed in (("success", True), ("failures", False)):  # etcd's names, although they are counters.
            text = f"Answers of /health: {name}."
            yield UntypedMetricFamily(f"etcd_server_health_{name}", text, value=self.health_counts[passed])
        last = GaugeMetricFamily("etcd_server_healthcheck", "1 if the check passed last.", labels=["type", "name"])
        labels = ["type", "name", "status"]
        total = CounterMetricFamily("etcd_server_healthchecks", "Checks that were made.", labels=labels)
        for key, passed in self.last.items():
            last.add_metric(key, int(passed))
        for (kind, name, passed), count in self.counts.items():
            total.add_metric([kind, name, "success" if passed else "error"], count)
        yield last
        yield total

    def refilling(self) -> str:
        """Why this member serves nobody now, though a restart would not help; "" if it does."""
        group = self.member.group
        if not group.refilling:
            return ""
        waits = "" if group.leader else ", and waits until the others have a leader"
        return f"REFILLING: {group.refilling}: this member gets its log back from the others{waits}"

    # The checks.

    async def serializable_read(self) -> str:
        """This member can read its own state."""
        return "" if self.member.failed is None else str(self.member.failed)

    async def linearizable_read(self) -> str:
        """A leader confirms that it leads, and this member is as far as it was then."""
        if self.member.failed is not None:
            return str(self.member.failed)
        if reason := self.refilling():
            return reason
        if not self.member.group.leader:
            return NO_LEADER[1]
        done: asyncio.Future[OstrakaError | None] = asyncio.get_running_loop().create_future()

        def ready(error: OstrakaError | None) -> None:
            if not done.done():
                done.set_result(error)

        self.member.group.read_index(ready)
        try:
            async with asyncio.timeout(self.member.bound / SECOND):
                error = await done
        except TimeoutError:
            return TIMED_OUT[1]
        return "" if error is None else self.member.refusal(error)[1]

    async def data_corruption(self) -> str:
        """No damage to durable data has been met."""
        return str(self.member.failed) if isinstance(self.member.failed, Corruption) else ""

    async def non_learner(self) -> str:
        """This member has a vote."""
        return "not supported for learner" if self.member.id in self.member.group.meta.members.learners else ""
