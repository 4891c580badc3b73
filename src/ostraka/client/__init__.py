"""Clients of a running cluster, of Ostraka or of etcd: `AsyncClient` for asyncio, `Client` for threads.

- `operations`    what can be asked for: Put, Get, Delete, Txn, and comparisons such as `Version("k") == 0`;
- `results`       what is returned;
- `kv`            the methods for keys and values, which a client and a session have in common;
- `asynchronous`  the client for asyncio;
- `session`       writes that are repeated, and executed once;
- `blocking`      its twin for threads;
- `calls`         which endpoint a call goes to, and whether it may be sent again;
- `endpoints`     the servers, their health, and the connections to them;
- `channel`       one connection;
- `outcomes`      what the end of a call means: did it happen?

The errors are in `ostraka.errors`.
"""

from ostraka.client.asynchronous import AsyncClient
from ostraka.client.blocking import Client
from ostraka.client.operations import (
    CreateRevision,
    Delete,
    Get,
    LeaseOf,
    ModRevision,
    Put,
    Txn,
    Value,
    Version,
)
from ostraka.client.results import (
    DeleteResult,
    KeyValue,
    Member,
    Order,
    PutResult,
    RangeResult,
    SortBy,
    Status,
    TxnResult,
)

__all__ = [
    "AsyncClient",
    "Client",
    "CreateRevision",
    "Delete",
    "DeleteResult",
    "Get",
    "KeyValue",
    "LeaseOf",
    "Member",
    "ModRevision",
    "Order",
    "Put",
    "PutResult",
    "RangeResult",
    "SortBy",
    "Status",
    "Txn",
    "TxnResult",
    "Value",
    "Version",
]
