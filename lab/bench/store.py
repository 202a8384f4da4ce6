"""What is kept of users in Redis: how long a look-up takes among few and among many users, and how
much memory many take."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.bench.commands import BenchFailed
from lab.bench.timing import Timed
from lab.mini.conditions import questions
from lab.servers.valkey import PrivateValkey
from lab.shop.catalog import build_catalog
from lab.shop.taste import EVALUATION_USERS, Shop
from services.catalog.positives import PositiveEvents
from services.demonstrations.variant import ServedVariant
from services.observability.metrics import Metrics
from services.prompts import Limits
from services.recommendations.user_states import LAST_KEPT, LastRanking, UserState, UserStates
from services.settings import Settings
from services.storage.database import Database, open_database
from services.storage.redis import connect, user_key

FEW = 1_000
HISTORY = 20
SAMPLES = 500  # users with contents of their own; the others repeat them
KEPT_SECONDS = 86_400
WARM_UP = 500

# A copy has memory of its own: the same content, written by the same code, under another key.
_COPY = """
local kept = redis.call('DUMP', KEYS[1])
for number = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]) do
  redis.call('RESTORE', ARGV[1] .. string.format('%07d', number), ARGV[5], kept)
end
"""


@dataclass(frozen=True, slots=True)
class Store:
    few: Timed
    many: Timed
    users: int
    bytes_per_user: float
    filled_seconds: float
    holds: Mapping[str, Any]

    def figures(self) -> dict[str, float]:
        return {
            "store.p99_ratio.1e6": self.many.ms(0.99) / self.few.ms(0.99),
            "store.redis_gib_per_million_users": self.bytes_per_user * 1e6 / 2**30,
        }

    def detail(self) -> dict[str, Any]:
        def of(timed: Timed) -> dict[str, float]:
            return {f"p{q}_ms": timed.ms(q / 100) for q in (50, 99)} | {"of": len(timed.calls)}

        return {
            "users": {"few": FEW, "many": self.users},
            "lookups": {"few": of(self.few), "many": of(self.many)},
            "bytes_per_user": self.bytes_per_user,
            "filled_in_s": self.filled_seconds,
            "a_state_holds": dict(self.holds),
        }


async def measure_store(
    folder: Path,
    *,
    users: int,
    lookups: int,
    draws: random.Random,
    told: Callable[[str], None],
) -> Store:
    """Look-ups of so many users each, of whom all are known, one by one and interleaved."""
    contents = list(_contents(draws))
    settings = Settings(database_url=f"sqlite:///{folder / 'none.sqlite3'}")
    async with aclosing(open_database(settings)) as database:
        with PrivateValkey() as few, PrivateValkey() as many:
            told(f"filling a store with {FEW:,} users")
            await _fill(few, database, contents, FEW)
            told(f"filling a store with {users:,} users")
            before = _used(many)
            began = time.perf_counter()
            await _fill(many, database, contents, users)
            filled = time.perf_counter() - began
            per_user = (_used(many) - before) / users
            told("looking users up")
            stores = {few: FEW, many: users}
            among_few, among_many = await _look_up(stores, database, lookups, draws)
            held = _held(many, contents)
    return Store(among_few, among_many, users, per_user, filled, held)


@dataclass(frozen=True, slots=True)
class _Content:
    state: UserState
    last: LastRanking


class _Prepared(UserStates):
    """Keeps states as ever, but makes them of what is given instead of what a database has."""

    given: _Content

    async def _read(self, user_id: str) -> UserState:  # noqa: ARG002
        return self.given.state


def _contents(draws: random.Random) -> Iterator[_Content]:
    """Of users of the generated shop: HISTORY items, LAST_KEPT ranked ones, and a variant whose
    text is a demonstration's and fills what a prompt gives it."""
    items = [item.item_id for item in build_catalog().items]
    texts = _texts()
    for number in range(SAMPLES):
        variant = ServedVariant(
            variant_id=f"variant-{draws.getrandbits(128):032x}",
            path=draws.randrange(3),
            round=draws.randrange(9),
            effect_d=draws.random(),
            log_score=-draws.expovariate(0.3),
            tokens=Limits().demonstration_tokens,
            current=texts[number % len(texts)],
            active=True,
        )
        state = UserState(
            version=draws.randrange(10**8),
            history=tuple(draws.sample(items, HISTORY)),
            switched=draws.randrange(1, 30),
            variants=(variant,),
        )
        last = LastRanking(
            question=f"{draws.getrandbits(96):024x}",
            at=time.time(),
            item_ids=tuple(draws.sample(items, LAST_KEPT)),
            scores=tuple(sorted((-draws.expovariate(0.3) for _ in range(LAST_KEPT)), reverse=True)),
        )
        yield _Content(state, last)


def _texts() -> list[str]:
    window = Limits().history_items
    numbers = EVALUATION_USERS[:SAMPLES]
    shown = (one.truthful for one in questions(Shop(), numbers, window))
    return [text.current for text in shown if text is not None]


async def _fill(
    valkey: PrivateValkey, database: Database, contents: Sequence[_Content], users: int
) -> None:
    """The first users are kept as the gateway keeps them, the others are copies of theirs."""
    redis = connect(valkey.address.state_url, timeout_seconds=60)
    async with aclosing(redis):
        states = _Prepared(
            database, redis, PositiveEvents.parse(("purchase",)), Metrics(),
            kept_seconds=KEPT_SECONDS,
        )  # fmt: skip
        originals = contents[:users]
        for number, states.given in enumerate(originals):
            await states.of(_user(number))
            await states.keep_last(_user(number), states.given.last)
        copy = redis.register_script(_COPY)
        size = len(originals)
        for number in range(size):
            await copy(
                keys=[user_key(_user(number))],
                args=[user_key("user-"), size + number, users - 1, size, 1000 * KEPT_SECONDS],
            )


def _user(number: int) -> str:
    return f"user-{number:07d}"


def _used(valkey: PrivateValkey) -> int:
    with valkey.client as client:
        used: int = client.info("memory")["used_memory"]
        return used


async def _look_up(
    stores: Mapping[PrivateValkey, int], database: Database, lookups: int, draws: random.Random
) -> list[Timed]:
    """`stores` says how many users each knows."""
    timed = [Timed() for _ in stores]
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        redises = [connect(one.address.state_url, timeout_seconds=5) for one in stores]
        for redis in redises:
            await stack.enter_async_context(aclosing(redis))
        states = [
            UserStates(database, redis, PositiveEvents.parse(("purchase",)), metrics,
                       kept_seconds=KEPT_SECONDS)
            for redis in redises
        ]  # fmt: skip
        sides = list(zip(states, stores.values(), timed, strict=True))
        for number in range(WARM_UP + lookups):
            for kept, known, into in draws.sample(sides, 2):
                user_id = _user(draws.randrange(known))
                began = time.perf_counter()
                state = await kept.of(user_id)
                seconds = time.perf_counter() - began
                if not state.variants or state.last is None:
                    raise BenchFailed(f"{user_id} is not in the store")
                if number >= WARM_UP:
                    into.calls.append(seconds)
    return timed


def _held(valkey: PrivateValkey, contents: Sequence[_Content]) -> dict[str, Any]:
    """By Valkey's own count: of a key with everything that belongs to it."""
    with valkey.client as client:
        keys = [user_key(_user(number)) for number in range(min(100, len(contents)))]
        version = client.info("server")["valkey_version"]
        memory = [client.memory_usage(key, samples=0) for key in keys]
        lengths = [{name: client.hstrlen(key, name) for name in client.hkeys(key)} for key in keys]
    names = lengths[0].keys()
    return {
        "valkey": version,
        "history_items": HISTORY,
        "ranked_items": LAST_KEPT,
        "variants": 1,
        "variant_text_bytes": sum(len(one.state.variants[0].current.encode()) for one in contents)
        / len(contents),
        "field_bytes": {name: sum(one[name] for one in lengths) / len(lengths) for name in names},
        "key_bytes": sum(memory) / len(memory),
    }
