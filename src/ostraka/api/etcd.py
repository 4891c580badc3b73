"""The message classes by their own names: `etcd.PutRequest`, `etcd.KeyValue`, `etcd.LockRequest` and so on.

Made when first asked for. No name occurs in two of the packages.
"""

from __future__ import annotations

from typing import Any

from ostraka.api import schema


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for package in schema.PACKAGES:
            try:
                found = schema.message(f"{package}.{name}")
            except KeyError:
                continue
            globals()[name] = found
            return found
    raise AttributeError(f"module 'ostraka.api.etcd' has no message {name!r}")
