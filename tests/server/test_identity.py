"""Ids: the same as a real etcd's for the same flags."""

from __future__ import annotations

from ostraka.server.config import ServerConfig
from ostraka.server.identity import cluster_id, member_id

# Logged by etcd 3.5.1 ("starting local member") when it was started with these flags.


def test_the_ids_of_a_single_etcd():
    me = member_id(["http://127.0.0.1:33801"], "etcd-cluster")
    assert f"{me:x}" == "cc4ac920d46ff089"
    assert f"{cluster_id([me]):x}" == "a511a62ef3d4eb6a"


def test_etcds_best_known_ids():
    """Those that everybody sees who starts etcd without any flags."""
    config = ServerConfig()
    assert f"{config.me:x}" == "8e9e05c52164694d"
    assert f"{config.cluster_id:x}" == "cdf818194e3a8c32"


def test_the_order_of_urls_and_members_makes_no_difference():
    urls = ["http://10.0.0.1:2380", "http://10.0.0.1:1380"]
    assert member_id(urls, "t") == member_id(reversed(urls), "t") != member_id(urls, "u")
    assert cluster_id([3, 1, 2]) == cluster_id([1, 2, 3])
