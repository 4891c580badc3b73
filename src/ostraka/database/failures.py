"""The errors that the database answers: etcd's codes and exact messages, which clients look up by the text."""

from __future__ import annotations

from ostraka.database.commands import Code, Failure

EMPTY_KEY = Failure(Code.INVALID_ARGUMENT, "etcdserver: key is not provided")
KEY_NOT_FOUND = Failure(Code.INVALID_ARGUMENT, "etcdserver: key not found")
VALUE_PROVIDED = Failure(Code.INVALID_ARGUMENT, "etcdserver: value is provided")
LEASE_PROVIDED = Failure(Code.INVALID_ARGUMENT, "etcdserver: lease is provided")
INVALID_SORT_OPTION = Failure(Code.INVALID_ARGUMENT, "etcdserver: invalid sort option")
TOO_MANY_OPERATIONS = Failure(Code.INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
DUPLICATE_KEY = Failure(Code.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")
LEASE_NOT_FOUND = Failure(Code.NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS = Failure(Code.FAILED_PRECONDITION, "etcdserver: lease already exists")
LEASE_TTL_TOO_LARGE = Failure(Code.OUT_OF_RANGE, "etcdserver: too large lease TTL")
COMPACTED = Failure(Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
MEMBER_NOT_FOUND = Failure(Code.NOT_FOUND, "etcdserver: member not found")
MEMBER_EXISTS = Failure(Code.FAILED_PRECONDITION, "etcdserver: member ID already exist")
PEER_URLS_EXIST = Failure(Code.FAILED_PRECONDITION, "etcdserver: Peer URLs already exists")
FUTURE_REVISION = Failure(Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")

# Ours: etcd has neither sessions nor registered disks, and takes a comparison that it doesn't know for some other one.
INVALID_COMPARISON = Failure(
    Code.INVALID_ARGUMENT,
    "ostraka: a comparison has an unknown target or result, or a value that is not of its target",
)
MALFORMED = Failure(Code.UNIMPLEMENTED, "ostraka: the payload is no command that this version knows; nothing was done")
OTHER_DISK = Failure(
    Code.FAILED_PRECONDITION,
    "ostraka: another disk is registered for this member; give it back its own data directory, or add a new member",
)
REMOVED = Failure(Code.FAILED_PRECONDITION, "ostraka: this member was removed from the cluster, for ever")
SESSION_TAKEN = Failure(Code.UNAVAILABLE, "ostraka: no session was begun; try again")
UNNUMBERED = Failure(Code.INVALID_ARGUMENT, "ostraka: a session's requests are numbered from 1; nothing was done")
SESSION_UNKNOWN = Failure(
    Code.UNAVAILABLE,
    "ostraka: no such session, or it was evicted: the request may have been executed before; begin a new session",
    unknown=True,
)
REPLY_GONE = Failure(
    Code.UNAVAILABLE,
    "ostraka: the reply to this request is no longer kept: it may have been executed before",
    unknown=True,
)
