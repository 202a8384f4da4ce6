"""PrivatePostgres against the promises that other tests build on."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from lab.servers import postgres as module
from lab.servers.postgres import PostgresFailed, PrivatePostgres
from lab.servers.scratch import ScratchFolder
from lab.servers.tether import Account
from services.ports import free_port

ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 15.0

STARTS_AND_WAITS = """
import time
from lab.servers.postgres import PrivatePostgres
with PrivatePostgres() as postgres:
    print(postgres.pid, postgres.port, postgres.folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PrivatePostgres]:
    with PrivatePostgres() as server:
        yield server


def query(url: str, statement: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(url, timeout=DEADLINE_SECONDS)
        try:
            return await connection.fetchval(statement, timeout=DEADLINE_SECONDS)
        finally:
            await connection.close()

    return asyncio.run(ask())


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(promise: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if promise():
            return True
        time.sleep(0.02)
    return False


def test_it_is_the_version_of_the_wheel_and_never_another(postgres: PrivatePostgres) -> None:
    probe = [str(module._wheel() / "bin" / "postgres"), "--version"]
    wheel = subprocess.run(probe, capture_output=True, text=True, timeout=10, check=True).stdout
    assert query(postgres.url("postgres"), "SHOW server_version") == wheel.split()[-1]


def test_it_listens_on_loopback_only_and_has_no_unix_socket(postgres: PrivatePostgres) -> None:
    assert query(postgres.url("postgres"), "SHOW listen_addresses") == "127.0.0.1"
    assert query(postgres.url("postgres"), "SHOW unix_socket_directories") == ""


def test_the_callers_environment_does_not_change_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"PGHOST": "nowhere", "PGPORT": "1", "TZ": "Asia/Tokyo"}.items():
        monkeypatch.setenv(name, value)
    with PrivatePostgres() as server:
        server.create_database("shop")
        assert query(server.url("shop"), "SHOW timezone") in ("UTC", "Etc/UTC")
        assert query(server.url("shop"), "SHOW lc_messages") == "C"


def test_settings_of_the_caller_go_on_top_of_the_defaults() -> None:
    with PrivatePostgres({"max_connections": "7"}) as server:
        assert query(server.url("postgres"), "SHOW max_connections") == "7"
        assert query(server.url("postgres"), "SHOW fsync") == "off"


def test_a_database_from_a_template_has_its_rows_and_is_apart_from_it(
    postgres: PrivatePostgres,
) -> None:
    postgres.create_database("mould")
    query(postgres.url("mould"), "CREATE TABLE item AS SELECT 7 AS id")
    postgres.create_database("cast_", template="mould")
    query(postgres.url("cast_"), "INSERT INTO item VALUES (8)")
    assert query(postgres.url("cast_"), "SELECT count(*) FROM item") == 2
    assert query(postgres.url("mould"), "SELECT count(*) FROM item") == 1


def test_a_database_can_be_dropped_while_a_session_is_in_it(postgres: PrivatePostgres) -> None:
    postgres.create_database("doomed")

    async def drop_under_a_session() -> None:
        connection = await asyncpg.connect(postgres.url("doomed"))
        await asyncio.to_thread(postgres.drop_database, "doomed")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.fetchval("SELECT 1", timeout=DEADLINE_SECONDS)

    asyncio.run(drop_under_a_session())
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        query(postgres.url("doomed"), "SELECT 1")


def test_a_failed_statement_says_what_the_server_said(postgres: PrivatePostgres) -> None:
    with pytest.raises(PostgresFailed, match='"missing" does not exist'):
        postgres.drop_database("missing")


@pytest.mark.parametrize("name", ["", "Shop", 'a"b', "a b", "1a", "a" * 64])
def test_a_database_name_that_needs_quoting_is_refused(
    postgres: PrivatePostgres, name: str
) -> None:
    with pytest.raises(ValueError, match="database name"):
        postgres.create_database(name)


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_a_restart_keeps_the_data_and_the_url(
    postgres: PrivatePostgres, mode: module.StopMode
) -> None:
    name = f"kept_{mode}"
    postgres.create_database(name)
    url, pid = postgres.url(name), postgres.pid
    query(url, "CREATE TABLE item AS SELECT 7 AS id")
    postgres.restart(mode)
    assert postgres.pid != pid
    assert postgres.url(name) == url
    assert query(url, "SELECT id FROM item") == 7


def test_a_stopped_server_refuses_connections_until_it_is_started(
    postgres: PrivatePostgres,
) -> None:
    postgres.stop()
    try:
        assert not takes_connections(postgres.port)
        with pytest.raises(PostgresFailed, match="not running"):
            _ = postgres.pid
    finally:
        postgres.start()
    assert query(postgres.url("postgres"), "SELECT 1") == 1


def test_a_paused_server_can_be_stopped() -> None:
    with PrivatePostgres() as server:
        os.kill(server.pid, signal.SIGSTOP)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 5


def test_nothing_is_left_after_the_block_even_after_an_exception() -> None:
    server = PrivatePostgres()
    pids: list[int] = []

    def fail_in_the_block() -> None:
        with server:
            pids.append(server.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_block()
    assert not is_alive(pids[0])
    assert not server.folder.exists()


def test_a_start_that_fails_shows_the_servers_log_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(PostgresFailed, match="no_such_setting"),
        PrivatePostgres({"no_such_setting": "1"}, folder=tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_someone_else_took_first_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        ports = iter([taken])
        monkeypatch.setattr(module, "free_port", lambda: next(ports, None) or free_port())
        with PrivatePostgres() as server:
            assert server.port != taken
            assert query(server.url("postgres"), "SELECT 1") == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tie is the Linux kernel's")
@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("paused", [False, True])
def test_the_server_dies_with_its_parent_however_that_ends(
    deadly: signal.Signals, paused: bool
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        pid, port, folder = parent.stdout.readline().split()
        assert is_alive(int(pid))
        assert takes_connections(int(port))
        if paused:
            os.kill(int(pid), signal.SIGSTOP)
        parent.send_signal(deadly)
        parent.wait(DEADLINE_SECONDS)
        assert eventually(lambda: not is_alive(int(pid)))
        assert eventually(lambda: not takes_connections(int(port)))
    finally:
        parent.kill()
        parent.communicate()

    # The next one clears up, once the folder is old enough to be nobody's.
    lock = Path(folder, "in-use.lock")
    os.utime(lock, (1, 1))
    with ScratchFolder("lrgd-pg-", Path(folder).parent):
        assert not Path(folder).exists()


def test_a_folder_in_use_is_never_taken_for_a_leftover(tmp_path: Path) -> None:
    with ScratchFolder("a-", tmp_path) as first:
        os.utime(first.path / "in-use.lock", (1, 1))
        with ScratchFolder("a-", tmp_path):
            assert first.path.exists()


def test_the_server_outlives_the_thread_that_started_it() -> None:
    with PrivatePostgres() as server:
        starter = threading.Thread(target=server.restart)
        starter.start()
        starter.join()
        time.sleep(0.3)
        assert query(server.url("postgres"), "SELECT 1") == 1


def test_it_can_be_used_inside_a_running_event_loop() -> None:
    async def use() -> None:
        with PrivatePostgres() as server:
            server.create_database("shop")
            connection = await asyncpg.connect(server.url("shop"))
            assert await connection.fetchval("SELECT 1") == 1
            await connection.close()

    asyncio.run(use())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another account")
@pytest.mark.parametrize("must_copy", [False, True])
def test_root_without_user_namespaces_runs_it_as_nobody(
    monkeypatch: pytest.MonkeyPatch, must_copy: bool
) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account("switch", nobody.pw_uid, nobody.pw_gid)
    monkeypatch.setattr(module, "accounts_without_root", lambda: iter([account]))
    if must_copy:
        installs = module._installs

        def without_the_wheel(undo: Any) -> Iterator[Path]:
            found = installs(undo)
            next(found)
            yield from found

        monkeypatch.setattr(module, "_installs", without_the_wheel)
    with PrivatePostgres() as server:
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert f"Uid:\t{nobody.pw_uid}\t" in status
        server.create_database("shop")
        server.restart()
        assert query(server.url("shop"), "SELECT 1") == 1
        pid = server.pid
    assert not is_alive(pid)
