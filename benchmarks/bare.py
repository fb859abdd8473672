"""The least that sending over Python can cost: `bare.py BODIES URL`, aiohttp alone with bodies that are ready.

BODIES has one form a line. No validation, no record, no look at the reply but its status. Prints how many were answered
with 200.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp

CONNECTIONS = 64


async def send(path: Path, url: str) -> int:
    """How many bodies were answered with 200."""
    with path.open("rb") as bodies:
        lines = iter(bodies)
        connector = aiohttp.TCPConnector(limit=CONNECTIONS)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            answered = await asyncio.gather(*(_work(session, lines, url) for _ in range(CONNECTIONS)))
    return sum(answered)


async def _work(session: aiohttp.ClientSession, lines: Iterator[bytes], url: str) -> int:
    answered = 0
    for line in lines:
        async with session.post(url, data=line.rstrip(b"\n")) as reply:
            await reply.read()
            answered += reply.status == 200
    return answered


if __name__ == "__main__":
    print(asyncio.run(send(Path(sys.argv[1]), sys.argv[2])))
