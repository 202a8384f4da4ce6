"""The k-core of a set of interactions: who is left when everyone has at least k of the others."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import chain, pairwise


class Core:
    """The users and items among which each has at least k distinct counterparts.

    Removing a user takes interactions from items, which may remove these, and so on: what remains
    is known only when all interactions are. So this is the one part of an import whose memory grows
    with the file: about 30 bytes an interaction while it is computed, and 130 bytes, its id
    included, for each user and item until it is let go.
    """

    def __init__(self, interactions: Iterable[tuple[str, str]], k: int) -> None:
        self._users: dict[str, int] = {}
        self._items: dict[str, int] = {}
        users, items = self._numbered(interactions)
        self._alive = _peeled(users, items, len(self._users), len(self._items), k)

    def __contains__(self, interaction: tuple[str, str]) -> bool:
        user = self._users.get(interaction[0])
        item = self._items.get(interaction[1])
        if user is None or item is None:
            return False
        return bool(self._alive[user] and self._alive[len(self._users) + item])

    def _numbered(self, interactions: Iterable[tuple[str, str]]) -> tuple[array[int], array[int]]:
        users, items = array("I"), array("I")
        for user, item in interactions:
            users.append(self._users.setdefault(user, len(self._users)))
            items.append(self._items.setdefault(item, len(self._items)))
        return _distinct(users, items, len(self._users))


def _distinct(
    users: array[int], items: array[int], user_count: int
) -> tuple[array[int], array[int]]:
    """Each pair once: a second review of the same product is no second product."""
    starts, found = _grouped(users, zip(users, items, strict=True), user_count)
    once_users, once_items = array("I"), array("I")
    for user, (begin, end) in enumerate(pairwise(starts)):
        of_user = set(found[begin:end])
        once_users.extend([user] * len(of_user))
        once_items.extend(of_user)
    return once_users, once_items


def _peeled(
    users: array[int], items: array[int], user_count: int, item_count: int, k: int
) -> bytearray:
    """Which nodes remain, users first: each removal costs only its own interactions."""
    nodes = array("I", (user_count + item for item in items))
    both_ways = chain(zip(users, nodes, strict=True), zip(nodes, users, strict=True))
    starts, neighbors = _grouped(chain(users, nodes), both_ways, user_count + item_count)
    degree = array("I", (end - begin for begin, end in pairwise(starts)))
    alive = bytearray(count >= k for count in degree)
    removed = array("I", (node for node, left in enumerate(alive) if not left))
    while removed:
        node = removed.pop()
        for neighbor in neighbors[starts[node] : starts[node + 1]]:
            if alive[neighbor]:
                degree[neighbor] -= 1
                if degree[neighbor] < k:
                    alive[neighbor] = 0
                    removed.append(neighbor)
    return alive


def _grouped(
    keys: Iterable[int], pairs: Iterable[tuple[int, int]], count: int
) -> tuple[array[int], array[int]]:
    """Counting sort: values[starts[key]:starts[key + 1]] are those paired with the key."""
    starts = array("Q", bytes(8 * (count + 1)))
    for key in keys:
        starts[key + 1] += 1
    for index in range(count):
        starts[index + 1] += starts[index]
    free = starts[:]
    values = array("I", bytes(4 * starts[count]))
    for key, value in pairs:
        values[free[key]] = value
        free[key] += 1
    return starts, values
