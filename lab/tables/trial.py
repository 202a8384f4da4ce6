"""One trial: a random sample of the users, and the seed of what is written for them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lab.tables.kept import KeptRow


@dataclass(frozen=True)
class Trial:
    """Candidates stay as they are in the files."""

    seed: int
    users: int

    @property
    def name(self) -> str:
        return f"{self.seed}-of-{self.users}-users"

    def drawn(self, users: Iterable[str]) -> set[str]:
        """Of the same users the same, in whatever order they are."""
        known = sorted(users)
        rng = random.Random(f"trial {self.seed}")
        return set(rng.sample(known, min(self.users, len(known))))

    def of(self, kept: KeptRow) -> KeptRow:
        """The drawn users of a row that depends on neither sample nor seed."""
        drawn = self.drawn(kept.users)
        places = [place for place, user in enumerate(kept.users) if user in drawn]
        return replace(
            kept,
            users=tuple(kept.users[place] for place in places),
            ranks=tuple(kept.ranks[place] for place in places),
            aucs=tuple(kept.aucs[place] for place in places),
            sizes=tuple(kept.sizes[place] for place in places),
            histories=tuple(kept.histories[place] for place in places),
        )
