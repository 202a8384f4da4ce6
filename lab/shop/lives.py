"""The cheap path, for training: positive items and latent taste, thousands of users a second.

`lab.shop.events` adds the events and their times to a life.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lab.shop.taste import Life, Shop, item_odds
from lab.shop.vocabulary import AXES

MIN_POSITIVES, MAX_POSITIVES = 10, 50

# At most so many changes of taste in a life: fewer than any axis has values that are not liked at
# first, so that a change always finds a new one.
MAX_CHANGES = 8

_BATCH = 128


class Stream(IntEnum):
    """One random stream per purpose, so that more draws in one leave the others as they are."""

    LIFE = 0
    EVENTS = 1
    CONTINUATION = 2


def user_stream(seed: int, number: int, stream: Stream) -> np.random.Generator:
    """The same draws for the same user, in whatever company and order users are sampled."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, stream)))


def sample_lives(shop: Shop, numbers: Sequence[int]) -> Iterator[Life]:
    """The lives of these users, in their order."""
    for start in range(0, len(numbers), _BATCH):
        yield from _sample_batch(shop, numbers[start : start + _BATCH])


def _sample_batch(shop: Shop, numbers: Sequence[int]) -> list[Life]:
    streams = [user_stream(shop.seed, number, Stream.LIFE) for number in numbers]
    uniform = np.stack([stream.random(1 + 2 * MAX_POSITIVES) for stream in streams])
    lengths = MIN_POSITIVES + (uniform[:, 0] * (MAX_POSITIVES - MIN_POSITIVES + 1)).astype(np.int64)
    changes = uniform[:, 1 : 1 + MAX_POSITIVES] < shop.rules.drift
    slot_draws = uniform[:, 1 + MAX_POSITIVES :]

    changes[:, 0] = False  # a life begins with its first taste
    stage_at = np.minimum(np.cumsum(changes, axis=1), MAX_CHANGES)
    stage_at[np.arange(MAX_POSITIVES) >= lengths[:, np.newaxis]] = -1
    stages = stage_at.max(axis=1) + 1
    in_stage = stage_at[:, np.newaxis] == np.arange(stages.max())[:, np.newaxis]
    starts, counts = in_stage.argmax(axis=2), in_stage.sum(axis=2)

    liked = _draw_tastes(shop, streams, slot_draws, starts)
    items = _draw_items(shop, streams, liked, starts, counts)
    return [
        Life(
            number,
            items[row, : lengths[row]].copy(),
            starts[row, : stages[row]].copy(),
            liked[row, : stages[row]].copy(),
        )
        for row, number in enumerate(numbers)
    ]


def _draw_tastes(
    shop: Shop,
    streams: list[np.random.Generator],
    slot_draws: NDArray[np.float64],
    starts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Liked values by user, stage and slot.

    Each user has one order of preference per axis, appealing values tending to come first. The
    head of it is liked at first; a slot that changes takes the next value of its axis.
    """
    catalog, rules = shop.catalog, shop.rules
    waits = np.stack([stream.standard_exponential(len(catalog.values)) for stream in streams])
    waits /= catalog.appeal
    queues = [
        begin + np.argsort(waits[:, begin:end], axis=1)
        for begin, end in pairwise(catalog.axis_starts)
    ]
    current = np.concatenate(
        [queue[:, :count] for queue, count in zip(queues, rules.liked, strict=True)], axis=1
    )
    slots = current.shape[1]
    axis_of_slot = np.repeat(np.arange(len(AXES)), rules.liked)
    users, stages = starts.shape
    next_in_queue = np.tile(np.array(rules.liked), (users, 1))
    liked = np.empty((users, stages, slots), dtype=np.int64)
    liked[:, 0] = current
    for stage in range(1, stages):
        # Users with fewer stages are given more here that nobody reads.
        changed = (slot_draws[np.arange(users), starts[:, stage]] * slots).astype(np.int64)
        for axis, queue in enumerate(queues):
            rows = np.flatnonzero(axis_of_slot[changed] == axis)
            current[rows, changed[rows]] = queue[rows, next_in_queue[rows, axis]]
            next_in_queue[rows, axis] += 1
        liked[:, stage] = current
    return liked


def _draw_items(
    shop: Shop,
    streams: list[np.random.Generator],
    liked: NDArray[np.int64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Items by user and position, without repetition, a whole stage of all users at once.

    Each item has an exponential clock that runs at the speed of its odds. Reading off the clocks
    in order of arrival is the same as choosing item after item in proportion to the odds.
    """
    size = len(shop.catalog.items)
    items = np.full((len(streams), MAX_POSITIVES), -1, dtype=np.int64)
    taken = np.zeros((len(streams), size), dtype=bool)
    for stage in range(counts.shape[1]):
        users = np.flatnonzero(counts[:, stage])
        arrivals = np.stack([streams[user].standard_exponential(size) for user in users])
        arrivals /= item_odds(shop, liked[users, stage])
        arrivals[taken[users]] = np.inf
        longest = int(counts[users, stage].max())
        first = np.argpartition(arrivals, longest - 1, axis=1)[:, :longest]
        order = np.argsort(np.take_along_axis(arrivals, first, axis=1), axis=1)
        first = np.take_along_axis(first, order, axis=1)
        row, place = np.nonzero(np.arange(longest) < counts[users, stage][:, np.newaxis])
        items[users[row], starts[users[row], stage] + place] = first[row, place]
        taken[users[row], first[row, place]] = True
    return items


def continued(shop: Shop, life: Life, at: int, liked: NDArray[np.int64], more: int) -> Life:
    """The first `at` positives of a life, and so many more under the values `liked` from there on.

    The clocks of the items are the same whatever is liked: two continuations of one life differ by
    taste, and not by chance.
    """
    stream = user_stream(shop.seed, life.number, Stream.CONTINUATION)
    arrivals = stream.standard_exponential(len(shop.catalog.items))
    arrivals /= item_odds(shop, liked[np.newaxis])[0]
    arrivals[life.items[:at]] = np.inf
    before = life.stage_starts < at
    return Life(
        life.number,
        np.concatenate([life.items[:at], np.argsort(arrivals)[:more]]),
        np.append(life.stage_starts[before], at),
        np.concatenate([life.liked[: int(before.sum())], liked[np.newaxis]]),
    )
