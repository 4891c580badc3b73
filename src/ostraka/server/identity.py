"""Who is who: member and cluster ids, computed from URLs and the cluster token as etcd computes them.

So every member knows all ids before anybody has spoken, and the ids are those that etcd's tools
would show for the same flags.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ostraka.model.ids import NodeId


def member_id(peer_urls: Iterable[str], token: str) -> NodeId:
    """The id of the member with these peer URLs in the cluster with this token: the head of a SHA-1."""
    return _head("".join(sorted(peer_urls)).encode() + token.encode())


def added_member_id(peer_urls: Iterable[str], nonce: int) -> NodeId:
    """The id of a member that is added later. etcd takes the second of the clock for `nonce`; we take 64 random bits,
    so that no id ever comes back.
    """
    return member_id(peer_urls, str(nonce)) or 1


def cluster_id(members: Iterable[NodeId]) -> int:
    """The id of the cluster that starts with these members."""
    return _head(b"".join(member.to_bytes(8, "big") for member in sorted(members)))


def _head(data: bytes) -> int:
    return int.from_bytes(hashlib.sha1(data, usedforsecurity=False).digest()[:8], "big")
