"""`ostraka`: the first word says what to do. Each command is imported when it is called for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

Command = Callable[[Sequence[str]], int]
INTERRUPTED = 130  # As shells have it.

USAGE = """\
Usage: ostraka <command> [options]

  serve        run one member of a cluster; its flags are etcd's
  demo         run a cluster on this machine, and watch it lose and replace its leader
  put          set a key
  get          read keys
  del          delete keys
  ls           list keys as paths
  txn          compare, then do one thing or the other, all at once
  compaction   forget how the keys were before a revision
  watch        show each change of keys as it happens
  lease        grant, revoke, look at and keep alive what ends by itself
  lock         hold a lock while a command runs
  elect        be a candidate in an election, or see who leads
  status       ask each endpoint how it is
  members      list the members of the cluster
  member       add, remove, update or promote a member
  move-leader  let another member lead
  check        judge a recorded history, of any database, by what it promises

`ostraka <command> --help` says more; `ostraka --version` says which version this is.
Exit codes: 0 done, 1 not done, 2 wrong usage, 3 nobody knows whether it was done, 130 interrupted.
"""


def _command(name: str) -> Command | None:
    match name:
        case "serve":
            from ostraka.cli import serve

            return serve.run
        case "demo":
            from ostraka.cli import demo

            return demo.main
        case "put" | "get" | "del" | "compaction" | "status" | "members":
            from ostraka.cli import ask

            return ask.COMMANDS[name]
        case "member" | "move-leader":
            from ostraka.cli import member

            return member.member if name == "member" else member.move_leader
        case "txn":
            from ostraka.cli import txn

            return txn.txn
        case "ls":
            from ostraka.cli import ls

            return ls.ls
        case "watch":
            from ostraka.cli import watch

            return watch.watch
        case "lease":
            from ostraka.cli import lease

            return lease.lease
        case "lock" | "elect":
            from ostraka.cli import claims

            return claims.lock if name == "lock" else claims.elect
        case "check":
            from ostraka.cli import check

            return check.check
        case _:
            return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    if words[0] in ("--version", "version"):
        import ostraka

        print(f"ostraka {ostraka.__version__}")
        return 0
    command = _command(words[0])
    if command is None:
        print(f"ostraka: there is no command {words[0]!r}; see ostraka --help", file=sys.stderr)
        return 2
    try:
        return command(words[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # Whoever reads what is printed has seen enough; nor can the rest be printed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
