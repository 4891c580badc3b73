"""`ostraka watch`: the changes of keys, as they happen, or since a revision."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ostraka.api import etcd
from ostraka.cli.ask import DONE, add_range, failed, number, parser_of
from ostraka.cli.printing import as_dict, print_as, shown
from ostraka.client import Client, Event
from ostraka.client.results import KeyValue
from ostraka.errors import EventsLost, OstrakaError

HEAD = ("event", "revision", "key", "value")


def watch(arguments: Sequence[str]) -> int:
    """`ostraka watch KEY [END]`"""
    parser = parser_of("watch", "Show each change of a key, or of the keys from KEY up to, and without, END.")
    add_range(parser)
    parser.add_argument(
        "--rev", type=number(1), default=0, metavar="REVISION", help="begin with this revision; default: now"
    )
    parser.add_argument("--prev-kv", action="store_true", help="show what was there before, too")
    parser.add_argument("--count", type=number(1), default=0, help="end after so many; default: when interrupted")
    options = parser.parse_args(arguments)
    key, end = os.fsencode(options.key), os.fsencode(options.end)
    span = {"prefix": key} if options.prefix else {"key": key, "end": end or None}
    left = options.count
    try:
        with (
            Client(options.endpoints, timeout=options.timeout) as client,
            client.watch(**span, start_revision=options.rev, prev_kv=options.prev_kv) as events,
        ):
            if options.output == "table":
                print("  ".join(HEAD), flush=True)
            while True:
                try:
                    show(next(events), options.output)
                except EventsLost as lost:
                    print(f"ostraka: {lost}", file=sys.stderr)
                    continue
                left -= 1
                if not left:
                    return DONE
    except OstrakaError as error:
        return failed(error)


def show(event: Event, form: str | None) -> None:
    """One event: a document of its own, a row, or lines."""
    name = "PUT" if event.is_put else "DELETE"
    if form == "table":
        print("  ".join((name.ljust(6), str(event.revision), shown(event.key), shown(event.value))).rstrip())
    elif form is None:
        previous = event.previous
        before = [shown(previous.key), shown(previous.value)] if previous is not None else []
        now = [shown(event.key), shown(event.value)] if event.is_put else [shown(event.key)]
        print("\n".join([name, *before, *now]))
    else:
        if form == "yaml":
            print("---")
        print_as(form, [], (), [], as_dict(_message(event)))
    sys.stdout.flush()


def _message(event: Event) -> object:
    """As etcd's JSON has it."""
    previous = None if event.previous is None else _pair(event.previous)
    return etcd.Event(type=int(event.kind), kv=_pair(event.kv), prev_kv=previous)


def _pair(kv: KeyValue) -> object:
    return etcd.KeyValue(
        key=kv.key,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        value=kv.value,
        lease=kv.lease,
    )
