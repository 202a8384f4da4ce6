"""Evaluation files from a data set, made once: leave-one-out, one target among 50.

Two candidates files for the test, two for validation: negatives drawn uniformly, and by
popularity^0.75. The newest item of a user is the test target, the one before it that of
validation. Items of equal time stay in the order of the source, which says nothing: how many there
are is written beside the files, with the hash of each. Nothing derives these files anew: another
order of ties would be another split.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from lab.evaluation.files import ITEMS, SEQUENCES
from lab.evaluation.questions import HELD_OUT
from lab.tables.data.sources import Interaction, Raw
from services.catalog.loaders.core import Core
from services.errors import ConfigurationError

CANDIDATES, POWER = 50, 0.75
MANIFEST = "split.json"
LEAST_ITEMS = HELD_OUT + 1  # something must be known of who is asked about


@dataclass(frozen=True)
class Wanted:
    """`least_rating`: of less, an interaction is no choice."""

    users: int = 1_000
    min_core: int = 5
    least_rating: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Ties:
    """`pairs`: neighbors in a sequence with equal times. `targets`: users whose newest item is as
    old as the one before it, so that which of them is the target is chance."""

    pairs: int
    of_pairs: int
    targets: int
    of_users: int


def make_split(raw: Raw, wanted: Wanted, out: Path, sources: Sequence[Path]) -> dict[str, Any]:
    if (out / MANIFEST).exists():
        raise ConfigurationError(
            f"{out} holds a split already, and a split is made once: name another folder by --out, "
            "or look at this one with `lrgd lab data describe`"
        )
    sequences = _sequences(raw, wanted)
    ties = _ties(sequences)
    items = {user: [one.item_id for one in taken] for user, taken in sequences.items()}
    asked = _asked(items, wanted)
    known = sorted({item for taken in items.values() for item in taken})
    contents = {
        ITEMS: _table(("item_id", "title"), [(item, raw.titles[item]) for item in known]),
        SEQUENCES: _table(
            ("user_id", "item_ids_oldest_first"),
            [(user, " ".join(taken)) for user, taken in items.items()],
        ),
    }
    for kind, draw in _draws(items, known).items():
        for part, before in (("test", 1), ("valid", HELD_OUT)):
            name = f"{part}-{kind}-{len(asked)}.jsonl"
            rows = [_row(user, items[user], before, draw, wanted.seed) for user in asked]
            contents[name] = "".join(json.dumps(row) + "\n" for row in rows)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (out / name).write_text(text, encoding="utf-8")
    hashes = {name: hash_of(out / name) for name in contents}
    manifest = {
        "wanted": asdict(wanted),
        "sources": {file.name: hash_of(file) for file in sources},
        "bad_lines": raw.bad_lines,
        "ties": asdict(ties),
        "files": hashes,
        "digest": hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16],
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def hash_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _sequences(raw: Raw, wanted: Wanted) -> dict[str, list[Interaction]]:
    """By user, oldest first: each item once, when it was first taken."""
    taken: dict[str, dict[str, Interaction]] = {}
    least = wanted.least_rating
    for one in sorted(raw.interactions, key=lambda one: one.at):
        liked = least is None or (one.rating is not None and one.rating >= least)
        if liked and one.item_id in raw.titles:
            taken.setdefault(one.user_id, {}).setdefault(one.item_id, one)
    core = Core(((user, item) for user, items in taken.items() for item in items), wanted.min_core)
    kept = {
        user: [one for item, one in items.items() if (user, item) in core]
        for user, items in sorted(taken.items())
    }
    return {user: items for user, items in kept.items() if items}


def _ties(sequences: Mapping[str, Sequence[Interaction]]) -> Ties:
    pairs = [(one.at == other.at) for items in sequences.values() for one, other in pairwise(items)]
    long_enough = [items for items in sequences.values() if len(items) > 1]
    targets = sum(items[-1].at == items[-2].at for items in long_enough)
    return Ties(sum(pairs), len(pairs), targets, len(long_enough))


def _asked(items: Mapping[str, Sequence[str]], wanted: Wanted) -> list[str]:
    possible = [user for user, taken in items.items() if len(taken) >= LEAST_ITEMS]
    if not possible:
        raise ConfigurationError(
            f"nobody has {LEAST_ITEMS} items left: are these the right files, and is --min-core "
            f"{wanted.min_core} too much for them?"
        )
    return sorted(random.Random(wanted.seed).sample(possible, min(wanted.users, len(possible))))


Draw = Callable[[random.Random], str]


def _draws(items: Mapping[str, Sequence[str]], known: Sequence[str]) -> dict[str, Draw]:
    """Popularity without the items that are held out of everybody's sequence."""
    users = Counter(item for taken in items.values() for item in taken[:-HELD_OUT])
    weights = list(accumulate(users[item] ** POWER for item in known))
    return {
        "uniform": lambda rng: known[rng.randrange(len(known))],
        "popular": lambda rng: rng.choices(known, cum_weights=weights)[0],
    }


def _row(user: str, items: Sequence[str], before: int, draw: Draw, seed: int) -> dict[str, Any]:
    """Negatives were never taken, not even later."""
    rng = random.Random(f"{seed} {user} {before}")
    target, own = items[-before], set(items)
    shown = {target: None}
    for _ in range(1_000 * CANDIDATES):
        if len(shown) == CANDIDATES:
            break
        drawn = draw(rng)
        if drawn not in own:
            shown[drawn] = None
    candidates = list(shown)
    rng.shuffle(candidates)
    return {
        "user_id": user,
        "history_length": len(items) - before,
        "target": target,
        "candidates": candidates,
    }


def _table(columns: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in (columns, *rows))
