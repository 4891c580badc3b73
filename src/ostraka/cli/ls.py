"""`ostraka ls`: which keys there are, taken for paths with slashes in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ostraka.cli.ask import DONE, failed, number, parser_of
from ostraka.cli.printing import print_as, shown
from ostraka.client import Client
from ostraka.errors import OstrakaError

PAGE = 1000  # Keys that are asked for at once.


def ls(arguments: Sequence[str]) -> int:
    """`ostraka ls [PREFIX]`"""
    parser = parser_of("ls", "List the keys that begin with PREFIX, as they are at one moment.")
    parser.add_argument("prefix", nargs="?", default="")
    parser.add_argument(
        "--depth",
        type=number(0),
        default=1,
        help="how many parts between slashes to show behind PREFIX; what lies deeper is one line, which ends in a "
        "slash. 0: all. Default: 1",
    )
    options = parser.parse_args(arguments)
    prefix = os.fsencode(options.prefix)
    try:
        with Client(options.endpoints, timeout=options.timeout) as client:
            keys = (pair.key for pair in client.scan(prefix=prefix, keys_only=True, page=PAGE))
            entries = folded(keys, prefix, options.depth)
    except OstrakaError as error:
        return failed(error)
    names = [(shown(name), count) for name, count in entries.items()]
    document = [{"name": name, "keys": count} for name, count in names]
    print_as(options.output, [name for name, _ in names], ("name", "keys"), names, document)
    return DONE


def folded(found: Iterable[bytes], prefix: bytes, depth: int) -> dict[bytes, int]:
    """Each line of the list, and how many keys it stands for. A slash at the end of `prefix` begins no part."""
    lines: dict[bytes, int] = {}
    for key in found:
        rest = key[len(prefix) :]
        begin = 1 if rest.startswith(b"/") else 0
        parts = rest[begin:].split(b"/")
        if 0 < depth < len(parts):
            key = prefix + rest[:begin] + b"/".join(parts[:depth]) + b"/"
        lines[key] = lines.get(key, 0) + 1
    return lines
