"""How lrgd-mini is taught: in stages, each opening the next when its skill is there.

1. `language`: the next item of a history, by its title.
2. `reading`: the labels of few candidates, and their grades at every token of their lines. Small
   steps, and labels that are shuffled half of the time: so they are read, not counted off.
3. `growing`: ever more candidates, all templates, written lists, and demonstrations.

The first two use brief prompts, in a shop without favorites. In whole prompts of the real shop a
model first learns what is popular, and then hardly anything for millions of tokens: what users like
explains too little of the loss, and labels are too few among the words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from lab.mini.batches import Batch, batches
from lab.mini.corpus import Corpus, Mix
from lab.mini.model import Mini, prepare
from lab.mini.moments import taught_moments, without_favorites
from lab.mini.tokenizer import END, MiniTokenizer
from lab.mini.training import Progress
from lab.mini.vocabulary import vocabulary_texts
from lab.mini.watching import SIZES, Watch
from lab.shop.taste import Shop

LANGUAGE_STEPS = 200
READ_BELOW = 0.95  # of the loss among the labels shown (1 is knowing nothing): reading has begun
GROW_BELOW, GROWTH, GROWS_EVERY, GROWS_ANYWAY = 0.8, 1.1, 10, 40
MOST_CANDIDATES = 50
# While reading is learned, steps are small: with more tokens in each, it is not learned.
STEP_TOKENS, STEP_TOKENS_LATER = 1_800, 3_200


class ShopCourse:
    name, data = "shop", "generated"
    dropout = 0.0  # no user comes round a second time

    def __init__(self, out: Path, watched_users: int = 64) -> None:
        self.shop = Shop()
        self.tokenizer = MiniTokenizer.kept(out, lambda: vocabulary_texts(self.shop))
        self.corpus = Corpus(self.shop, self.tokenizer)
        self.watch = Watch(self.corpus, watched_users)

    def prepare(self, model: Mini) -> None:
        prepare(model)

    def steps(self, progress: Progress, rng: np.random.Generator) -> Iterator[Sequence[Batch]]:
        growing = progress.stage == "growing"
        shop = self.shop if growing else without_favorites(self.shop)
        examples = self.corpus.examples(taught_moments(shop, rng), _mix(progress), rng)
        tokens = STEP_TOKENS_LATER if growing else STEP_TOKENS
        return ([batch] for batch in batches(examples, tokens, rng, self.tokenizer.id(END)))

    def watched(
        self, model: Mini, progress: Progress, forward: Callable[[Tensor], Tensor]
    ) -> dict[str, float]:
        sizes = tuple(size for size in SIZES if size <= max(20, 2 * progress.most))
        writing = 24 if progress.stage == "growing" else 0
        return self.watch.figures(model, sizes, forward=forward, writing=writing)

    def advance(self, progress: Progress) -> bool:
        """To the next stage, or to more candidates."""
        stage, since = progress.stage, progress.step - progress.grown_at
        fit, fits = progress.recent.get("fit", 9.0), progress.recent.get("fits", 0)
        due = since >= GROWS_ANYWAY or (since >= GROWS_EVERY and fit < GROW_BELOW)
        if stage == "language" and progress.step >= LANGUAGE_STEPS:
            progress.stage = "reading"
        elif stage == "reading" and fit < READ_BELOW and fits > 100:
            progress.stage, progress.grown_at = "growing", progress.step
        elif stage == "growing" and progress.most < MOST_CANDIDATES and due:
            grown = max(progress.most + 1, int(progress.most * GROWTH))
            progress.most, progress.grown_at = min(MOST_CANDIDATES, grown), progress.step
        else:
            return False
        return True


def _mix(progress: Progress) -> Mix:
    if progress.stage == "language":
        return Mix(likelihood=1.0, described=0.4, brief=1.0)
    if progress.stage == "reading":
        return Mix(
            likelihood=0.08, described=0.4, most=progress.most, written_list=0.4,
            shuffled_labels=0.5, brief=1.0,
        )  # fmt: skip
    grown = progress.most == MOST_CANDIDATES
    return Mix(
        likelihood=0.12, demonstration=0.25 if grown else 0.12, written_list=0.12,
        other_templates=0.2,
        described=0.6, perturbed=0.06, plain=0.12, fewest=6, most=progress.most, hard=0.3,
        shuffled_labels=0.3, line_grades=0.5, brief=0.05 if grown else 0.25,
    )  # fmt: skip
