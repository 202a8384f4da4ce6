"""The users of a data set who may be taught, and what titles say: terms that many items share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lab.evaluation.files import Data, read_data, read_split
from lab.evaluation.prior import Prior
from lab.evaluation.questions import Question, Split, training_part
from services.errors import ConfigurationError
from services.prompts.titles import clean, fold

LEAST_ITEMS, MOST_SHARE = 5, 0.25
MOST_NAMES, SHORTEST_NAME = 20_000, 3
_WORD = re.compile(r"[A-Za-z0-9][\w'+.&]*")
_EMPTY = frozenset(
    ("the", "a", "an", "of", "for", "and", "with", "in", "to", "on", "by", "from", "edition")
)


@dataclass(frozen=True)
class Shoppers:
    """`sequences`: of users who are asked about in no file of the folder, without the two newest
    items of each. `watched`: a validation file, to see how far a training is."""

    titles: Mapping[str, str]
    sequences: Sequence[tuple[str, ...]]
    watched: Split
    digest: str

    @classmethod
    def of(cls, folder: Path) -> Shoppers:
        data = read_data(folder)
        splits = [read_split(file, data) for file in sorted(folder.glob("*.jsonl"))]
        valid = [split for split in splits if split.name.startswith("valid-")]
        if not valid:
            raise ConfigurationError(
                f"--data: {folder} has no valid-*.jsonl, by which a training is watched"
            )
        return cls(_clean_titles(data), _taught(data, splits), valid[-1], data.digest)

    @cached_property
    def terms(self) -> dict[str, tuple[str, ...]]:
        """By item the words, and pairs of words, that its title shares with some other titles but
        not with most; the rarer first. None is the title of an item."""
        split = {item: tuple(_terms(title)) for item, title in self.titles.items()}
        counts = Counter(term for terms in split.values() for term in set(terms))
        names = {fold(title) for title in self.titles.values()}
        most = MOST_SHARE * len(self.titles)
        known = {
            term: count
            for term, count in counts.items()
            if LEAST_ITEMS <= count <= most and fold(term) not in names
        }
        return {
            item: tuple(sorted({one for one in terms if one in known}, key=lambda t: (known[t], t)))
            for item, terms in split.items()
        }

    @cached_property
    def popularity(self) -> Counter[str]:
        """How many users took an item."""
        return Counter(item for items in self.sequences for item in set(items))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Titles that are a token each, those of more takers first: all, if they are not too many,
        for beside them one in pieces would have the chance of nothing. Only those that a byte-level
        tokenizer gives back as they are: it takes a word in Latin letters for bytes."""
        takers: Counter[str] = Counter(dict.fromkeys(self.titles.values(), 0))
        for item, count in self.popularity.items():
            takers[self.titles[item]] += count
        return tuple(
            title
            for title, _ in takers.most_common(MOST_NAMES)
            if len(title) >= SHORTEST_NAME and (title.isascii() or " " in title)
        )

    def beside(self, user: int, items: Sequence[str], size: int) -> list[str]:
        """What others chose with these items, the best first: as the other half of the users has
        it, for what `user` chose next must not be told by their own choices."""
        return self._halves[1 - user % 2].near(items, size)

    @cached_property
    def _halves(self) -> tuple[Prior, Prior]:
        return Prior(self.sequences[::2]), Prior(self.sequences[1::2])

    def question_titles(self, question: Question) -> tuple[list[str], list[str]]:
        return [self.titles[item] for item in question.history], [
            self.titles[item] for item in question.candidates
        ]


def _clean_titles(data: Data) -> dict[str, str]:
    return {item: clean(title or None) for item, title in data.titles.items()}


def _taught(data: Data, splits: Iterable[Split]) -> list[tuple[str, ...]]:
    asked = {question.user_id for split in splits for question in split.questions}
    anyone = Split("", (), {}, "")
    training = training_part(data.titles, data.sequences, anyone)
    return [
        items for user, items in training.sequences.items() if user not in asked and len(items) > 1
    ]


def _terms(title: str) -> Iterable[str]:
    words = [word.rstrip(".") for word in _WORD.findall(title)]
    for place, word in enumerate(words):
        if word.lower() in _EMPTY:
            continue
        if len(word) > 1 and not word.isdigit():
            yield word
        if place + 1 < len(words) and words[place + 1].lower() not in _EMPTY:
            yield f"{word} {words[place + 1]}"
