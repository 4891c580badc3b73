"""Where etcd's gateway has its methods."""

from __future__ import annotations

from ostraka.api.paths import ROUTES, method_at
from ostraka.api.services import METHODS


def test_every_method_that_etcd_has_a_path_for_has_one():
    found = ROUTES
    of_etcd = {path for path in METHODS if not path.startswith(("/grpc.", "/ostraka."))}
    assert {method.path for method in found.values()} == of_etcd
    assert len(found) == len(of_etcd) + 3  # Three of the leases' methods have two.
    assert found["/v3/kv/lease/revoke"] is found["/v3/lease/revoke"]
    assert method_at("/v3beta/kv/put") is method_at("/v3alpha/kv/put") is method_at("/v3/kv/put") is not None
    assert method_at("/v3/kv") is method_at("/v2/kv/put") is None
