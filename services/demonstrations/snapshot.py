"""What a generator may know of a user: their past, cut before the oldest held-out event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from services.errors import LrgdError

LEAST_HISTORY = 2  # an example needs an item, and one chosen after it


class LeakedHeldOut(LrgdError):
    """A held-out item has reached the generator's input: its evaluation would mean nothing."""


@dataclass(frozen=True, slots=True)
class PastItem:
    item_id: str
    title: str | None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`history` oldest first; `neighbors` are co-visited items as of the snapshot, best first."""

    history: tuple[PastItem, ...]
    neighbors: tuple[PastItem, ...] = ()
    profile: Mapping[str, str] = field(default_factory=dict)

    def require_free_of(self, held_out: Collection[str]) -> None:
        """Raises LeakedHeldOut. An item may be held out although the user took it before: then it
        is known from the past, and the caller does not name it here.
        """
        leaked = {item.item_id for item in (*self.history, *self.neighbors)} & set(held_out)
        if leaked:
            raise LeakedHeldOut(f"held-out items in a snapshot: {', '.join(sorted(leaked))}")

    def attribute_counts(self) -> dict[str, list[tuple[str, int]]]:
        """How often each value of each attribute was chosen: most frequent first, then by name."""
        counts: dict[str, Counter[str]] = {}
        for item in self.history:
            for name, value in item.attributes.items():
                counts.setdefault(name, Counter())[value] += 1
        return {
            name: sorted(counts[name].items(), key=lambda counted: (-counted[1], counted[0]))
            for name in sorted(counts)
        }
