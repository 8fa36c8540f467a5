"""asyncpg against PostgreSQL, redis-py against Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

ROWS = 20_000


async def test_asyncpg_queries_in_a_pool(postgres: Path) -> None:
    pool = await asyncpg.create_pool(
        host=str(postgres), user="test", database="postgres", min_size=2, max_size=8
    )
    async with pool:
        await pool.execute("CREATE TABLE numbers (n int PRIMARY KEY, square bigint, raw bytea)")
        records = [(n, n * n, bytes([n % 256]) * 100) for n in range(ROWS)]
        await pool.copy_records_to_table("numbers", records=records)

        async def one(n: int) -> int:
            value: int = await pool.fetchval("SELECT square FROM numbers WHERE n = $1", n)
            return value

        assert await asyncio.gather(*(one(n) for n in range(200))) == [n * n for n in range(200)]
        rows = await pool.fetch("SELECT n, raw FROM numbers ORDER BY n")
        assert len(rows) == ROWS and all(
            row["raw"] == bytes([row["n"] % 256]) * 100 for row in rows
        )
        async with pool.acquire() as connection, connection.transaction():
            cursor = await connection.cursor("SELECT n FROM numbers ORDER BY n")
            assert [row["n"] for row in await cursor.fetch(10)] == list(range(10))
        with pytest.raises(asyncpg.UniqueViolationError):
            await pool.execute("INSERT INTO numbers VALUES (1, 1, '')")


async def test_asyncpg_cancels_and_listens(postgres: Path) -> None:
    connection = await asyncpg.connect(host=str(postgres), user="test", database="postgres")
    other = await asyncpg.connect(host=str(postgres), user="test", database="postgres")
    try:
        with pytest.raises(asyncio.TimeoutError):
            await connection.fetchval("SELECT pg_sleep(60)", timeout=0.1)
        assert await connection.fetchval("SELECT 1") == 1
        heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await connection.add_listener("bell", lambda *args: heard.set_result(args[3]))
        await other.execute("NOTIFY bell, 'ding'")
        assert await heard == "ding"
        await connection.remove_listener("bell", lambda *_: None)
    finally:
        await connection.close()
        await other.close()


async def test_redis_pipelines_and_subscriptions(redis_socket: Path) -> None:
    client = redis.asyncio.Redis(unix_socket_path=str(redis_socket))
    async with client:
        async with client.pipeline() as pipe:
            for n in range(1000):
                pipe.set(f"key{n}", b"x" * n)
            assert all(await pipe.execute())
        values = await asyncio.gather(*(client.get(f"key{n}") for n in range(0, 1000, 10)))
        assert [len(value) for value in values] == list(range(0, 1000, 10))
        await client.set("large", b"y" * 3_000_000)
        assert await client.get("large") == b"y" * 3_000_000
        async with client.pubsub() as channel:
            await channel.subscribe("news")
            assert (await channel.get_message(timeout=10))["type"] == "subscribe"
            await client.publish("news", b"hello")
            assert (await channel.get_message(timeout=10))["data"] == b"hello"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.blpop("nothing", timeout=0), 0.05)
        assert await client.ping()
