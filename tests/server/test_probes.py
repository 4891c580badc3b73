"""What orchestrators ask: the checks one by one, and together."""

from __future__ import annotations

import asyncio

import pytest

from ostraka.errors import Corruption, NotLeader
from ostraka.model.requests import Members, SnapshotMeta

from .scripted import ME, OTHER
from .test_listener import Port, a_port, in_loop

ALL = ("data_corruption", "serializable_read", "linearizable_read", "non_learner")


async def asked(port: Port, path: str) -> tuple[int, str]:
    """Status and body, while the group serves all reads."""
    asking = asyncio.ensure_future(port.http(f"GET {path}"))
    while not asking.done():
        port.world.group.decide()
        await asyncio.sleep(0)
    status, headers, body = asking.result()
    assert headers["content-type"].startswith("text/plain") or status == 404
    return status, body


@in_loop
async def test_a_member_that_serves_is_alive_and_ready():
    async with a_port() as port:
        assert await asked(port, "/livez") == await asked(port, "/readyz") == (200, "ok\n")
        assert await asked(port, "/livez?verbose") == (200, "[+]serializable_read ok\nok\n")
        every = "".join(f"[+]{name} ok\n" for name in ALL)
        assert await asked(port, "/readyz?verbose") == (200, every + "ok\n")
        assert await asked(port, "/readyz/non_learner?verbose") == (200, "[+]non_learner ok\nok\n")
        assert await asked(port, "/livez/linearizable_read") == (404, "404 page not found\n")
        assert await asked(port, "/readyz?verbose&exclude=serializable_read&exclude=nothing&exclude=") == (
            200,
            every.replace("[+]serializable_read ok\n", "") + "ok\n",
        )


@in_loop
async def test_without_a_leader_a_member_is_alive_and_not_ready():
    async with a_port() as port:
        port.world.group.leader = 0
        assert (await asked(port, "/livez"))[0] == 200
        status, body = await asked(port, "/readyz")
        assert status == 503 and "[-]linearizable_read failed: etcdserver: no leader\n" in body
        assert body.count("[+]") == 3  # Of what fails all is listed, asked for or not.
        assert (await asked(port, "/readyz?exclude=linearizable_read"))[0] == 200
        assert (await asked(port, "/readyz/linearizable_read?exclude=linearizable_read"))[0] == 503


@in_loop
async def test_a_leader_that_cannot_confirm_is_no_reason_to_restart():
    async with a_port() as port:
        asking = asyncio.ensure_future(port.http("GET /readyz"))
        await port.until(lambda: port.world.group.reads)
        port.world.group.refuse(NotLeader("nobody"))
        assert "[-]linearizable_read failed: etcdserver: no leader" in (await asking)[2]
        port.world.member.__dict__["bound"] = 1  # Nanoseconds.
        assert "[-]linearizable_read failed: etcdserver: request timed out" in (await port.http("GET /readyz"))[2]
        assert (await port.http("GET /livez"))[0] == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz/data_corruption"])
@in_loop
async def test_damaged_data_are_a_reason_for_both(path):
    async with a_port() as port:
        port.world.host.failed = Corruption("table 7 is damaged at byte 9")
        status, body = await asked(port, path)
        assert status == 503 and "failed: table 7 is damaged at byte 9" in body


@in_loop
async def test_a_learner_is_not_ready():
    async with a_port() as port:
        port.world.group.meta = SnapshotMeta(1, 0, 0, Members((OTHER,), learners=(ME,)))
        status, body = await asked(port, "/readyz")
        assert status == 503 and "[-]non_learner failed: not supported for learner" in body
        assert (await asked(port, "/livez"))[0] == 200


@in_loop
async def test_checks_are_counted():
    async with a_port() as port:
        for path in ("/livez", "/livez", "/readyz", "/health", "/health?serializable=true"):
            await asked(port, path)
        port.world.group.leader = 0
        await asked(port, "/health")
        await asked(port, "/readyz")
        _, text = await asked(port, "/metrics")
        for line in (
            "etcd_server_health_success 2.0",
            "etcd_server_health_failures 1.0",
            'etcd_server_healthcheck{name="linearizable_read",type="readyz"} 0.0',
            'etcd_server_healthcheck{name="serializable_read",type="livez"} 1.0',
            'etcd_server_healthchecks_total{name="serializable_read",status="success",type="livez"} 2.0',
            'etcd_server_healthchecks_total{name="linearizable_read",status="error",type="readyz"} 1.0',
        ):
            assert f"\n{line}\n" in text, line
