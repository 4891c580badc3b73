"""What there is for asyncio there is for threads, under the same names."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import ostraka.client
from ostraka.client import blocking, claims, kv, lease, watch

PAIRS = [
    (found, getattr(blocking, name.removeprefix("Async")))
    for module in (ostraka.client, claims, kv, lease, watch)
    for name, found in sorted(vars(module).items())
    if (name.startswith("Async") and found.__module__ == module.__name__) or name in ("AsyncClient", "AsyncSession")
]
KEPT_IN_THE_INSTANCE = {
    blocking.Watch: {"revision"},
    blocking.Lease: {"id", "ttl", "lost"},
    blocking.Claim: {"name", "key", "token", "lost"},
    blocking.Election: {"name"},
}
ONLY_WITHIN = {"prefix", "set", "expires"}
"""What the originals need of each other."""


def signature(method: Any) -> str:
    """But for what it returns, and for the twins' names."""
    return str(inspect.signature(method).replace(return_annotation="")).replace("Async", "")


@pytest.mark.parametrize(("original", "twin"), PAIRS, ids=lambda each: each.__name__)
def test_a_twin_has_the_same_methods(original: type, twin: type) -> None:
    names = {name for name in vars(original) if not name.startswith("_")} - ONLY_WITHIN
    assert names <= set(dir(twin)), f"{twin.__name__} lacks {names - set(dir(twin))}"
    for name in names:
        mine, twins = inspect.getattr_static(original, name), inspect.getattr_static(twin, name)
        if isinstance(mine, property):
            assert isinstance(twins, property), name
        else:
            assert signature(mine) == signature(twins), name
    for enter, other in (("__aenter__", "__enter__"), ("__aexit__", "__exit__"), ("__anext__", "__next__")):
        assert hasattr(original, enter) == hasattr(twin, other), other
    own = {name for name in vars(twin) if not name.startswith("_")}
    assert own <= names | KEPT_IN_THE_INSTANCE.get(twin, set()), f"{twin.__name__} has more: {own - names}"
    assert KEPT_IN_THE_INSTANCE.get(twin, set()) <= own


def test_all_twins_are_compared() -> None:
    assert len(PAIRS) >= 11, PAIRS
    assert signature(ostraka.client.AsyncClient) == signature(ostraka.client.Client)
