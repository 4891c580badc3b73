"""Every error that a caller can catch, as one tree.

An error answers the caller's only question: did it happen?

    OstrakaError
    ├── NotExecuted          it did not happen, and never will
    │   ├── NotLeader        nobody here could order it
    │   ├── MembersChanged   the members are others by now, or are being changed
    │   ├── NotCaughtUp      the member that is to vote, or to lead, lags behind
    │   ├── Overloaded       a queue is full; the message names which, its size and its bound
    │   ├── Refilling        this member gets its log back from the others after damage to its disk
    │   ├── Refused          the request itself is wrong, or this state of the database does not allow it
    │   │   ├── Compacted, FutureRevision, KeyNotFound, DuplicateKey, TooManyOperations, TooLarge,
    │   │   │   LeaseNotFound, LeaseExists, PermissionDenied, Unauthenticated, NotSupported
    │   │   └── Lost         the lease, lock or leadership under which it was asked for is gone
    │   └── Unavailable      no connection to any endpoint; nothing was sent
    ├── OutcomeUnknown       it may have happened
    │   ├── NoSpace          the database's quota is reached
    │   └── SessionExpired   the cluster no longer knows whether it ran
    ├── EventsLost           a watch had to skip revisions that were compacted
    ├── StorageError         the data directory
    │   ├── Corruption       durable bytes are damaged
    │   │   └── MissingEntries  the log does not go on from the state
    │   ├── NewerFormat      written by a newer version; left untouched
    │   ├── Removed          belongs to a member that was removed from its cluster
    │   ├── WrongIdentity    belongs to another cluster or member
    │   └── DirectoryInUse   another process has it open
    └── ConfigurationError   a flag, a variable or a file
"""


class OstrakaError(Exception):
    """The root: catch this to catch all that Ostraka raises on purpose."""


class NotExecuted(OstrakaError):
    """It did not happen, and never will. Safe to try again."""


class NotLeader(NotExecuted):
    """This replica does not lead, and knows nobody who does."""


class MembersChanged(NotExecuted):
    """The members are others than this change begins with, or are just being changed. Look again, and try again."""


class NotCaughtUp(NotExecuted):
    """The member that is to vote, or to lead, doesn't have enough of the log yet."""


class Overloaded(NotExecuted):
    """A bounded queue is full. Try again later."""


class Refilling(NotExecuted):
    """This member's disk was damaged, and it gets its log back from the others: ask another member."""


class Refused(NotExecuted):
    """The request itself is wrong; trying it again unchanged is of no use."""


class Compacted(Refused):
    """The revision was compacted: how the keys were then is forgotten."""


class FutureRevision(Refused):
    """There is no such revision yet."""


class KeyNotFound(Refused):
    """The key whose value or lease was to be kept does not exist."""


class DuplicateKey(Refused):
    """A transaction would write a key twice."""


class TooManyOperations(Refused):
    """A transaction has more operations than the server allows (`--max-txn-ops`)."""


class TooLarge(Refused):
    """The request has more bytes than the server allows (`--max-request-bytes`)."""


class LeaseNotFound(Refused):
    """There is no such lease: it has expired or was revoked, or never was."""


class LeaseExists(Refused):
    """A lease with the id that was asked for exists already."""


class PermissionDenied(Refused):
    """This user may not do it."""


class Unauthenticated(Refused):
    """The server does not know who asks."""


class NotSupported(Refused):
    """The server has no such method."""


class Lost(Refused):
    """The lease, lock or leadership under which it was asked for is gone."""


class Unavailable(NotExecuted):
    """No endpoint could be reached, and nothing was sent."""


class OutcomeUnknown(OstrakaError):
    """It may have happened. Try again only under the same request id."""


class NoSpace(OutcomeUnknown):
    """The database's quota is reached. The write that reaches it first is executed, and answered alike, by etcd."""


class SessionExpired(OutcomeUnknown):
    """The cluster no longer knows the session, or keeps no reply to this request: it may have run before."""


class EventsLost(OstrakaError):
    """The events of revisions `first` to `last` were compacted before they could be delivered, and never will be.

    Whoever iterates on receives everything from `last` + 1.
    """

    def __init__(self, message: str, first: int, last: int) -> None:
        super().__init__(message)
        self.first = first
        self.last = last


class StorageError(OstrakaError):
    """The data directory can't be used as it is."""


class Corruption(StorageError):
    """Bytes that were durable are damaged; the message names file and offset."""


class MissingEntries(Corruption):
    """The log does not go on from the state: entries between them are missing."""


class NewerFormat(StorageError):
    """Written by a newer version of Ostraka; nothing was changed."""


class Removed(StorageError):
    """The data belongs to a member that was removed from its cluster: it takes no further part, ever."""


class WrongIdentity(StorageError):
    """The data belongs to another cluster, member or disk."""


class DirectoryInUse(StorageError):
    """Another process has the data directory open."""


class ConfigurationError(OstrakaError):
    """A flag, a variable or a configuration file is wrong; the message says which, and what to do."""
