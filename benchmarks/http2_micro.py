"""What one unary gRPC call costs the server's HTTP/2 layer, in microseconds of CPU.

Feeds recorded bytes of grpc-go's shape (headers as literals coded by Huffman, no table) and prints the cost of a
header block and of a whole call, with and without a `grpc-timeout`, for several calls in one read.

    python benchmarks/http2_micro.py
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from hpack import Encoder

from ostraka.transport.http2 import PREFACE, Router, ServerCall, ServerConnection
from ostraka.transport.http2 import frames as f
from ostraka.transport.http2.blocks import REQUESTS, BlockReader

PATH = "/etcdserverpb.KV/Put"
MESSAGE = b"\x0a\x10" + b"k" * 16 + b"\x12\x80\x02" + b"v" * 256
CALLS = 2_000


def block(timeout: str | None) -> bytes:
    """A request's header block as grpc-go writes it once the table's size is 0."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", PATH),
        (":authority", "127.0.0.1:2379"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go/1.71.1"),
        ("te", "trailers"),
    ]
    if timeout:
        fields.append(("grpc-timeout", timeout))
    fields.append(("hasleader", "true"))
    encoder = Encoder()
    encoder.header_table_size = 0
    encoder.table_size_changes = []
    return b"".join(encoder.encode([field]) for field in fields)


def best(run: Callable[[], int]) -> float:
    """The least of five runs, in µs for each of the operations that `run` says it did."""
    costs = []
    for _ in range(5):
        gc.collect()
        start = time.process_time()
        count = run()
        costs.append((time.process_time() - start) / count * 1e6)
    return min(costs)


def connection(router: Router) -> ServerConnection:
    """A connection whose client has confirmed our settings, and has had one reply."""
    made = ServerConnection(router, lambda: None, 0)
    made.feed(PREFACE + f.settings({}) + f.SETTINGS_ACK, 0)
    made.feed(call(1, b"\x20" + block(None)) + f.window_update(0, 2**30), 0)
    made.take()
    return made


def call(stream_id: int, headers: bytes) -> bytes:
    """The frames of one unary call."""
    data = f.PREFIX.pack(0, len(MESSAGE)) + MESSAGE
    return f.frame(f.HEADERS, f.END_HEADERS, stream_id, headers) + f.frame(f.DATA, f.END_STREAM, stream_id, data)


def calls(timed: bool, at_once: int) -> Callable[[], int]:
    """Whole calls, in and out."""
    router = Router()

    def reply(call: ServerCall, message: bytes) -> None:
        call.reply(b"\x0a\x1c" + message[:28])

    router.unary(PATH, reply)
    wire = [call(n, block(f"{4_999_999 - n}u" if timed else None)) for n in range(3, 3 + 2 * CALLS, 2)]

    def run() -> int:
        served = connection(router)
        for start in range(0, len(wire), at_once):
            served.feed(b"".join(wire[start : start + at_once]), 1)
            served.take()
        return len(wire)

    return run


def blocks(timed: bool) -> Callable[[], int]:
    """Header blocks only."""
    reader = BlockReader()
    reader.confirm()
    reader.read(b"\x20" + block(None), REQUESTS)
    reader.read(block("1S"), REQUESTS)
    reader.read(block(None), REQUESTS)
    made = [block(f"{4_999_999 - n}u" if timed else None) for n in range(2000)]

    def run() -> int:
        for each in made:
            reader.read(each, REQUESTS)
        return len(made)

    return run


def decoded() -> int:
    """Header blocks by the library alone."""
    reader = BlockReader()
    reader.read(b"", REQUESTS)
    plain = block(None)
    for _ in range(500):
        reader.read(plain, REQUESTS)
    return 500


def main() -> None:
    """Print the table."""
    gc.freeze()
    print(f"header block by the library      {best(decoded):6.2f} µs")
    print(f"header block, known              {best(blocks(False)):6.2f} µs")
    print(f"header block, varying timeout    {best(blocks(True)):6.2f} µs")
    for at_once in (1, 4, 16):
        plain, timed = best(calls(False, at_once)), best(calls(True, at_once))
        print(f"call in and out, {at_once:2} in a read   {plain:6.2f} µs   with a timeout {timed:6.2f} µs")


if __name__ == "__main__":
    main()
