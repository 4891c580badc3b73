"""Who a process is: by its flags if its directory is new, else by what stands there.

A new member is one of the first of a new cluster, whose ids follow from the flags, or it joins one that runs: then it
asks the members who it is (`ask_roster`). One that starts again is who it was; its flags only must not speak of
somebody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

import msgspec

from ostraka.errors import ConfigurationError, Removed, Unavailable, WrongIdentity
from ostraka.model.ids import Dice, NodeId
from ostraka.server.config import ServerConfig, endpoint
from ostraka.storage.birth import Birth, read_birth, write_birth
from ostraka.storage.disk import Disk
from ostraka.storage.identity import Identity, read_identity
from ostraka.transport import wire
from ostraka.transport.newcomer import ask_roster

JOIN_WITHIN: Final = 60.0  # Seconds in which one of the members must tell a newcomer who it is.
ASK_EVERY: Final = 0.5
REMOVED: Final = "removed"  # A file that says why its directory is of no use any more.

log = logging.getLogger("ostraka.server")


class Joined(msgspec.Struct, frozen=True):
    """What a newcomer was told: the cluster, and its members."""

    cluster: int
    members: tuple[wire.Listed, ...]


def must_ask(config: ServerConfig) -> bool:
    """Is this a newcomer to a cluster that runs?"""
    return config.existing and not (config.data_dir / "identity").exists()


async def join(config: ServerConfig, hello: wire.Hello) -> Joined:
    """Ask the members of the cluster that the flags name, until one knows. Raises Unavailable, ConfigurationError."""
    urls = [url for name, urls in config.initial_cluster.items() if name != config.name for url in urls]
    if not urls:
        raise ConfigurationError(
            "--initial-cluster-state is existing, and --initial-cluster names nobody but this member: name the "
            "members of the cluster that it joins"
        )
    failures: dict[str, str] = {}
    try:
        async with asyncio.timeout(JOIN_WITHIN):
            while True:
                for url in urls:
                    try:
                        answer, roster = await ask_roster(*endpoint(url), hello)
                        return Joined(answer.cluster, roster.members)
                    except OSError as error:
                        if failures.get(url) != (failure := str(error) or "no answer"):
                            failures[url] = failure
                            log.warning("%s: asked who the members are: %s", url, failure)
                await asyncio.sleep(ASK_EVERY)
    except TimeoutError:
        told = "; ".join(f"{url}: {failure}" for url, failure in failures.items())
        raise Unavailable(
            f"no member of the cluster could tell within {JOIN_WITHIN:.0f} s who the members are ({told}): check "
            "--initial-cluster, and that a majority of the members runs"
        ) from None


def begin(config: ServerConfig, disk: Disk, dice: Dice, joined: Joined | None) -> tuple[Identity, Birth]:
    """Who this process is, and how it began; for a new directory, that is written there.

    Raises WrongIdentity, Removed, Corruption, NewerFormat, OSError.
    """
    refuse_removed(config)
    found = read_identity(disk)
    if found is not None:
        birth = read_birth(disk)
        recognise(config, found, birth)
        return found, birth
    disk_id = dice.getrandbits(63) + 1
    if not config.existing:
        ids = config.member_ids()
        peers = {ids[name]: urls for name, urls in config.initial_cluster.items()}
        identity = Identity(config.cluster_id, config.me, disk_id)
        birth = Birth(config.token, tuple(sorted(peers)), peers, config.name, config.consensus)
    else:
        assert joined is not None, "who has no data asks first"
        me = find_me(config, joined)
        identity = Identity(joined.cluster, me, disk_id)
        peers = {each.member: each.peer_urls for each in joined.members}
        birth = Birth(config.token, (), peers, config.name, config.consensus)
    write_birth(disk, birth)
    return identity, birth


def find_me(config: ServerConfig, joined: Joined) -> NodeId:
    """The member that is to be reached where we are. Raises WrongIdentity."""
    mine = set(config.initial_advertise_peer_urls)
    for each in joined.members:
        if mine != set(each.peer_urls):
            continue
        if each.name:
            raise WrongIdentity(
                f"member {each.member:x} at {','.join(each.peer_urls)} has been started before, as {each.name}, and "
                f"{config.data_dir} holds no data: give it back its own data directory, or remove that member and add "
                "it anew"
            )
        return each.member
    listed = "; ".join(f"{each.member:x} at {','.join(each.peer_urls)}" for each in joined.members)
    raise WrongIdentity(
        f"no member of cluster {joined.cluster:x} has the peer URLs {','.join(sorted(mine))} (its members: {listed}): "
        f"add it first, with `ostraka member add {config.name} --peer-urls {','.join(sorted(mine))}`"
    )


def recognise(config: ServerConfig, found: Identity, birth: Birth) -> None:
    """The directory says who we are. Raises WrongIdentity if the flags speak of another member or cluster."""
    mine = tuple(sorted(config.initial_advertise_peer_urls))
    here = birth.peer_urls.get(found.member, ())
    if birth.consensus != config.consensus:
        raise WrongIdentity(
            f"{config.data_dir} holds the log of consensus {birth.consensus}, and --consensus is {config.consensus}: "
            f"give --consensus {birth.consensus}, or another --data-dir"
        )
    if birth.token != config.token and not config.existing:
        raise WrongIdentity(
            f"{config.data_dir} belongs to cluster {found.cluster:016x}, which began with the token {birth.token!r}: "
            f"--initial-cluster-token is {config.token!r}; give that of the directory, or another --data-dir"
        )
    if mine != tuple(sorted(here)) and config.name != birth.name:
        raise WrongIdentity(
            f"{config.data_dir} belongs to member {found.member:016x}, {birth.name} at {','.join(here)}, and the flags "
            f"are those of {config.name} at {','.join(mine)}: start with the flags of {birth.name}, or with another "
            "data directory"
        )
    if mine != tuple(sorted(here)) or (birth.voters and set(config.member_ids().values()) != set(birth.voters)):
        log.info(
            "%s holds data: its own record of the members counts, and --initial-cluster is ignored", config.data_dir
        )


def refuse_removed(config: ServerConfig) -> None:
    """Raise Removed if the directory is that of a member that was removed."""
    note = config.data_dir / REMOVED
    if note.exists():
        raise Removed(
            f"{config.data_dir}: {note.read_text().strip()}, and never comes back under its old id; remove the "
            "directory, and add it as a new member with `ostraka member add`"
        )


def note_removal(config: ServerConfig, reason: str) -> None:
    """Let it refuse to start again. Nothing hangs on it: the others would tell it once more."""
    (config.data_dir / REMOVED).write_text(f"{reason}\n")


def addresses(birth: Birth) -> Mapping[NodeId, str]:
    """One peer URL of each member, as it was in the beginning."""
    return {node: urls[0] for node, urls in birth.peer_urls.items() if urls}
