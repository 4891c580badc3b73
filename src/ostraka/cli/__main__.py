"""`ostraka`: the first word says what to do. Each command is imported when it is called for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

Command = Callable[[Sequence[str]], int]

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
  status       ask each endpoint how it is
  members      list the members of the cluster
  member       add, remove, update or promote a member
  move-leader  let another member lead
  check        judge a recorded history, of any database, by what it promises

`ostraka <command> --help` says more; `ostraka --version` says which version this is.
Exit codes: 0 done, 1 not done, 2 wrong usage, 3 nobody knows whether it was done.
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
    return command(words[1:])


if __name__ == "__main__":
    sys.exit(main())
