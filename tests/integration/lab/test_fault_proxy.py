"""FaultProxy: each fault is what it says, and ends with recover()."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio

from lab.servers.fault_proxy import FaultProxy

SOON = 5.0
A_WHILE = 0.4


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Client:
    """A client that never waits for ever."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.answer(len(data))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await asyncio.wait_for(self._writer.drain(), SOON)

    async def answer(self, length: int, within: float = SOON) -> bytes:
        return await asyncio.wait_for(self._reader.readexactly(length), within)

    async def answer_to_the_end(self) -> bytes:
        return await asyncio.wait_for(self._reader.read(), SOON)

    def end_requests(self) -> None:
        self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await asyncio.wait_for(self._writer.wait_closed(), SOON)


Connect = Callable[[FaultProxy], Awaitable[Client]]


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    clients: list[Client] = []

    async def connect_to(proxy: FaultProxy) -> Client:
        clients.append(Client(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return clients[-1]

    yield connect_to
    for client in clients:
        await client.close()


async def eventually_empty(proxy: FaultProxy) -> bool:
    for _ in range(500):
        if proxy.open_connections == 0:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_without_a_fault_every_byte_passes_both_ways(connect: Connect) -> None:
    data = bytes(range(256)) * 40_000
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            client = await connect(proxy)
            _, answer = await asyncio.gather(client.send(data), client.answer(len(data), 30))
            assert answer == data
            await client.close()
            assert await eventually_empty(proxy)


async def test_the_end_of_requests_passes_while_answers_go_on(connect: Connect) -> None:
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            client = await connect(proxy)
            await client.send(b"last")
            client.end_requests()
            assert await client.answer_to_the_end() == b"last"


async def test_latency_is_added_once_per_round_trip_and_does_not_limit_the_rate(
    connect: Connect,
) -> None:
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            client = await connect(proxy)
            proxy.latency(A_WHILE)
            begin = time.monotonic()
            assert await client.ask(b"x") == b"x"
            assert A_WHILE <= time.monotonic() - begin < 2 * A_WHILE
            begin = time.monotonic()
            for _ in range(10):
                await client.send(b"x")
                await asyncio.sleep(0.01)
            assert await client.answer(10) == b"x" * 10
            assert time.monotonic() - begin < 3 * A_WHILE


async def test_a_hang_holds_open_and_new_connections_and_loses_nothing(connect: Connect) -> None:
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            before = await connect(proxy)
            assert await before.ask(b"a") == b"a"
            proxy.hang()
            during = await connect(proxy)
            await before.send(b"b")
            await during.send(b"c")
            for client in (before, during):
                with pytest.raises(TimeoutError):
                    await client.answer(1, within=A_WHILE)
            proxy.recover()
            assert await before.answer(1) == b"b"
            assert await during.answer(1) == b"c"


async def test_a_client_that_gives_up_during_a_hang_is_gone_after_it(connect: Connect) -> None:
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            client = await connect(proxy)
            proxy.hang()
            await client.close()
            proxy.recover()
            assert await eventually_empty(proxy)


async def test_refuse_is_for_new_connections_and_keeps_the_port(connect: Connect) -> None:
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            open_one, address = await connect(proxy), ("127.0.0.1", proxy.port)
            assert await open_one.ask(b"a") == b"a"
            proxy.refuse()
            proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                await connect(proxy)
            with socket.socket() as squatter, pytest.raises(OSError, match="in use"):
                squatter.bind(address)
            assert await open_one.ask(b"b") == b"b"
            proxy.recover()
            assert await (await connect(proxy)).ask(b"c") == b"c"
            assert ("127.0.0.1", proxy.port) == address


async def test_reset_ends_open_connections_with_rst_and_spares_new_ones(connect: Connect) -> None:
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            client = await connect(proxy)
            assert await client.ask(b"a") == b"a"
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                await client.answer(1)
            assert proxy.open_connections == 0
            assert await (await connect(proxy)).ask(b"b") == b"b"


async def test_reset_reaches_connections_that_hang(connect: Connect) -> None:
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            client = await connect(proxy)
            assert await client.ask(b"a") == b"a"
            proxy.hang()
            await client.send(b"b")
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                await client.answer(1)


@pytest.mark.parametrize("allowed", [0, 3])
async def test_a_cut_ends_an_answer_after_exactly_that_many_bytes(
    connect: Connect, allowed: int
) -> None:
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            open_one = await connect(proxy)
            assert await open_one.ask(b"whole") == b"whole"
            proxy.cut_after(allowed)
            for client in (open_one, await connect(proxy)):
                await client.send(b"abcdef")
                assert await client.answer_to_the_end() == b"abcdef"[:allowed]
                await client.close()
            proxy.recover()
            late = await connect(proxy)
            assert await late.ask(b"whole") == b"whole"
            await late.close()
            assert await eventually_empty(proxy)


async def test_a_server_that_is_not_there_shows_as_a_reset(connect: Connect) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with FaultProxy(*nobody.getsockname()) as proxy:

            async def ask() -> None:
                await (await connect(proxy)).answer(1)

            with pytest.raises(ConnectionResetError):
                await ask()


async def test_the_end_of_the_block_ends_connections_and_the_port(connect: Connect) -> None:
    async with echo_server() as port:
        with FaultProxy("127.0.0.1", port) as proxy:
            client = await connect(proxy)
            assert await client.ask(b"a") == b"a"
            proxy.hang()
            proxy.refuse()
        with pytest.raises(ConnectionResetError):
            await client.answer(1)
        with socket.socket() as successor:
            successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            successor.bind(("127.0.0.1", proxy.port))


@pytest.fixture
def idle_proxy() -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", 9) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("url", "through"),
    [
        ("postgresql://postgres@127.0.0.1:5432/shop", "postgresql://postgres@127.0.0.1:{}/shop"),
        ("redis://:secret@localhost:6379/1?a=b", "redis://:secret@127.0.0.1:{}/1?a=b"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:{}"),
    ],
)
def test_only_the_address_of_a_url_changes_on_the_way_through(
    idle_proxy: FaultProxy, url: str, through: str
) -> None:
    assert idle_proxy.through(url) == through.format(idle_proxy.port)
