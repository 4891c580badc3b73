"""Clients of a running cluster, of Ostraka or of etcd: `AsyncClient` for asyncio, `Client` for threads.

- `operations`    what can be asked for: Put, Get, Delete, Txn, and comparisons such as `Version("k") == 0`;
- `results`       what is returned;
- `kv`            the methods for keys and values, which a client and a session have in common;
- `asynchronous`  the client for asyncio;
- `session`       writes that are repeated, and executed once;
- `watch`         the changes of a range, as they happen;
- `lease`         leases, kept alive, and their loss;
- `claims`        locks and elections;
- `blocking`      the twins of all these for threads, and `threads` how they run;
- `calls`         which endpoint a call goes to, and whether it may be sent again;
- `endpoints`     the servers, their health, and the connections to them;
- `channel`       one connection;
- `outcomes`      what the end of a call means: did it happen?

The errors are in `ostraka.errors`.
"""

from ostraka.client.asynchronous import AsyncClient
from ostraka.client.blocking import Client, Election, Leadership, Lease, Lock, Loss, Session, Watch
from ostraka.client.claims import AsyncElection, AsyncLeadership, AsyncLock
from ostraka.client.lease import AsyncLease, AsyncLoss
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
from ostraka.client.session import AsyncSession
from ostraka.client.watch import AsyncWatch, Bookmark, Event, EventKind

__all__ = [
    "AsyncClient",
    "AsyncElection",
    "AsyncLeadership",
    "AsyncLease",
    "AsyncLock",
    "AsyncLoss",
    "AsyncSession",
    "AsyncWatch",
    "Bookmark",
    "Client",
    "CreateRevision",
    "Delete",
    "DeleteResult",
    "Election",
    "Event",
    "EventKind",
    "Get",
    "KeyValue",
    "Leadership",
    "Lease",
    "LeaseOf",
    "Lock",
    "Loss",
    "Member",
    "ModRevision",
    "Order",
    "Put",
    "PutResult",
    "RangeResult",
    "Session",
    "SortBy",
    "Status",
    "Txn",
    "TxnResult",
    "Value",
    "Version",
    "Watch",
]
