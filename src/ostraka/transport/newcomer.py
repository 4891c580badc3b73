"""A newcomer's one question: who are the members? It is asked on the members' port, before it knows its own id."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from ostraka.transport import wire
from ostraka.transport.wire import Hello, Roster

PATIENCE: Final = 6.0  # Seconds for an answer. A member that has to look for its leader may take a while.
_LONGEST: Final = 1 << 20


async def ask_roster(host: str, port: int, hello: Hello) -> tuple[Hello, Roster]:
    """The member's own hello, and all members. Raises OSError, of which the text says why there is no answer."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                frame = wire.encode(msgspec.structs.replace(hello, channel=wire.NEWCOMER))
                writer.write(len(frame).to_bytes(wire.LENGTH_BYTES, "big") + frame)
                answer = wire.decode_hello(await _frame(reader))
                if reason := answer.refusal or wire.judge(
                    answer, msgspec.structs.replace(hello, cluster=answer.cluster)
                ):
                    raise ConnectionRefusedError(reason)
                return answer, wire.decode_roster(await _frame(reader))
            finally:
                writer.close()
    except (msgspec.DecodeError, UnicodeError):
        raise ConnectionRefusedError("this is not an Ostraka peer port") from None
    except (TimeoutError, asyncio.IncompleteReadError) as error:
        raise ConnectionAbortedError("it does not answer") from error


async def _frame(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(wire.LENGTH_BYTES), "big")
    if length > _LONGEST:
        raise ConnectionRefusedError("this is not an Ostraka peer port")
    return await reader.readexactly(length)
