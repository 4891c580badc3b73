"""Every error that a caller can catch, as one tree.

An error answers the caller's only question: did it happen?

    OstrakaError
    ├── NotExecuted          it did not happen, and never will
    │   ├── NotLeader        nobody here could order it
    │   ├── Overloaded       a queue is full; the message names which, its size and its bound
    │   ├── Refused          the request itself is wrong
    │   └── Unavailable      no connection to any endpoint; nothing was sent
    ├── OutcomeUnknown       it may have happened
    ├── StorageError         the data directory
    │   ├── Corruption       durable bytes are damaged
    │   ├── NewerFormat      written by a newer version; left untouched
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


class Overloaded(NotExecuted):
    """A bounded queue is full. Try again later."""


class Refused(NotExecuted):
    """The request itself is wrong; trying it again unchanged is of no use."""


class Unavailable(NotExecuted):
    """No endpoint could be reached, and nothing was sent."""


class OutcomeUnknown(OstrakaError):
    """It may have happened. Try again only under the same request id."""


class StorageError(OstrakaError):
    """The data directory can't be used as it is."""


class Corruption(StorageError):
    """Bytes that were durable are damaged; the message names file and offset."""


class NewerFormat(StorageError):
    """Written by a newer version of Ostraka; nothing was changed."""


class WrongIdentity(StorageError):
    """The data belongs to another cluster, member or disk."""


class DirectoryInUse(StorageError):
    """Another process has the data directory open."""


class ConfigurationError(OstrakaError):
    """A flag, a variable or a configuration file is wrong; the message says which, and what to do."""
