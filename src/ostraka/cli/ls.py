"""`ostraka ls`: which keys there are, taken for paths with slashes in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from ostraka.api import etcd
from ostraka.cli.ask import DONE, failed, parser_of, prefix_end
from ostraka.cli.printing import print_as, shown
from ostraka.client.blocking import Client
from ostraka.errors import OstrakaError

PAGE = 1000  # Keys that are asked for at once.


def ls(arguments: Sequence[str]) -> int:
    """`ostraka ls [PREFIX]`"""
    parser = parser_of("ls", "List the keys that begin with PREFIX, as they are at one moment.")
    parser.add_argument("prefix", nargs="?", default="")
    parser.add_argument(
        "--depth",
        type=int,
        default=1,
        help="how many parts between slashes to show behind PREFIX; what lies deeper is one line, which ends in a "
        "slash. 0: all. Default: 1",
    )
    options = parser.parse_args(arguments)
    prefix = os.fsencode(options.prefix)
    try:
        with Client(options.endpoints, options.timeout) as client:
            entries = folded(keys(client, prefix), prefix, options.depth)
    except OstrakaError as error:
        return failed(error)
    names = [(shown(name), number) for name, number in entries.items()]
    document = [{"name": name, "keys": number} for name, number in names]
    print_as(options.output, [name for name, _ in names], ("name", "keys"), names, document)
    return DONE


def keys(client: Client, prefix: bytes) -> Iterator[bytes]:
    """All keys with this prefix, in their order, as they were when the first page was read."""
    start, end, revision, more = prefix or b"\0", prefix_end(prefix), 0, True
    while more:
        request = etcd.RangeRequest(key=start, range_end=end, limit=PAGE, revision=revision, keys_only=True)
        reply = client.call("/etcdserverpb.KV/Range", request)
        revision = revision or reply.header.revision
        for pair in reply.kvs:
            yield pair.key
            start = pair.key + b"\0"
        more = reply.more


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
