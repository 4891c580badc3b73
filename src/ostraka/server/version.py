"""The versions that this server shows to etcd's clients, which parse them as numbers joined by dots."""

from __future__ import annotations

from typing import Final

SERVER_VERSION: Final = "3.5.1"
CLUSTER_VERSION: Final = "3.5.0"
