"""Training of a small model on prompts of the system's own. What is taught, and how one thing
leads to the next, is the course's; here are the steps, the checkpoints and the log.

Interrupted, it goes on where its last checkpoint was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lab.mini.batches import Batch
from lab.mini.families import Family
from lab.mini.model import Mini, Shape
from lab.mini.tokenizer import MiniTokenizer
from services.demonstrations.versions import prompt_versions
from services.errors import ConfigurationError

WARM_STEPS = 50
FADING = 0.2  # the last share of the tokens, in which the learning rate falls to nothing
_MEMORY = 0.95
_LONGEST_STEP = 60.0  # seconds, compilation included


@dataclass(frozen=True)
class Run:
    """What a training is asked for."""

    out: Path
    tokens: int
    seed: int = 0
    threads: int = 1
    family: Family = Family.LLAMA
    width: int = 192
    layers: int = 4
    learning_rate: float = 1.5e-3
    watch_every: float = 5.0  # minutes
    save_every: float = 3.0
    compiled: bool = True  # pays after a minute


@dataclass
class Progress:
    """Where a training stands; all of it is in the checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    stage: str = "language"
    most: int = 10
    grown_at: int = 0
    recent: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        before = self.recent.get(name)
        self.recent[name] = value if before is None else _MEMORY * before + (1 - _MEMORY) * value


class Course(Protocol):
    """What is taught, on which `data`. `dropout`: of the model that learns. `prepare`: with which
    weights it begins. `steps`: the batches that it learns from before its weights change.
    `advance`: to what comes next, if it is time; whether anything has changed."""

    @property
    def name(self) -> str: ...

    @property
    def data(self) -> str: ...

    @property
    def dropout(self) -> float: ...

    @property
    def tokenizer(self) -> MiniTokenizer: ...

    def prepare(self, model: Mini) -> None: ...

    def steps(self, progress: Progress, rng: np.random.Generator) -> Iterator[Sequence[Batch]]: ...

    def advance(self, progress: Progress) -> bool: ...

    def watched(
        self, model: Mini, progress: Progress, forward: Callable[[Tensor], Tensor]
    ) -> dict[str, float]: ...


class OtherPrompts(Exception):
    def __init__(self, out: Path, prompts: dict[str, str]) -> None:
        super().__init__(
            f"the training in {out} was begun with the prompts {', '.join(prompts.values())}; "
            f"those of now are {', '.join(prompt_versions().values())}: "
            "begin another training, in a new folder"
        )


class OtherFamily(ConfigurationError):
    def __init__(self, out: Path, begun: Family) -> None:
        super().__init__(
            f"the training in {out} was begun with --family {begun}: "
            "go on with it, or begin another training, in a new folder"
        )


class OtherCourse(ConfigurationError):
    def __init__(self, out: Path) -> None:
        super().__init__(
            f"the training in {out} was begun on other data: go on with those, or begin another "
            "training, in a new folder"
        )


class Trainer:
    def __init__(self, run: Run, course: Course) -> None:
        torch.set_num_threads(run.threads)
        torch.manual_seed(run.seed)
        self.run, self.course = run, course
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = course.tokenizer
        shape = Shape(
            len(self.tokenizer),
            width=run.width,
            layers=run.layers,
            heads=run.width // 32,
            inner=run.width * 8 // 3 // 32 * 32,
            family=run.family,
        )
        self.model = Mini(shape, torch.bfloat16, course.dropout)
        if not self._checkpoint.exists():
            course.prepare(self.model)
        self.model.to(self.device)
        self.optimizers = _optimizers(self.model, run.learning_rate)
        self._language = (
            torch.compile(_language_loss, dynamic=True) if run.compiled else _language_loss
        )
        self.rng = np.random.default_rng(np.random.SeedSequence(run.seed))
        self.progress = Progress()
        self.labels = torch.tensor(list(self.tokenizer.labels.values()), device=self.device)
        self.leading = torch.tensor(
            list(self.tokenizer.leading_labels.values()), device=self.device
        )
        self.grades = torch.tensor(self.tokenizer.grades, device=self.device)

    def train(self, tell: Callable[[Progress], None] = lambda _: None) -> Progress:
        """Saves what has been learned when it is interrupted, too."""
        try:
            return self._train(tell)
        except KeyboardInterrupt:
            self.save()
            raise

    def _train(self, tell: Callable[[Progress], None]) -> Progress:
        run, progress = self.run, self.progress
        compiled = torch.compile(self.model, dynamic=True) if run.compiled else self.model
        feed = self.course.steps(progress, self.rng)
        watched = saved = progress.seconds
        logged = progress.step
        while progress.tokens < run.tokens:
            began = time.monotonic()
            self._set_rate()
            for batch in next(feed):
                learned = batch.to(self.device)
                self._learn(compiled(learned.ids), learned)
                progress.tokens += batch.ids.numel()
            self._turn()
            progress.step += 1
            # A stopped process does not train, whatever the clock says.
            progress.seconds += min(time.monotonic() - began, _LONGEST_STEP)
            if self.course.advance(progress):
                self._log({"event": progress.stage, "most": progress.most})
                feed = self.course.steps(progress, self.rng)
            if progress.step - logged >= 25:
                logged = progress.step
                self._log({"losses": {k: round(v, 4) for k, v in progress.recent.items()}})
                tell(progress)
            if progress.seconds - saved > 60 * run.save_every:
                saved = progress.seconds
                self.save()
            if progress.seconds - watched > 60 * run.watch_every:
                self._watch(compiled)
                watched = progress.seconds
        self._watch(compiled)
        self.save()
        return progress

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": asdict(self.progress),
            "rng": self.rng.bit_generator.state,
            "torch": torch.get_rng_state(),
            # Plain: a checkpoint is read without running what is in it.
            "shape": asdict(self.model.shape) | {"family": self.run.family.value},
            "run": asdict(self.run) | {"out": str(self.run.out), "family": self.run.family.value},
            "prompts": prompt_versions(),
            "course": self.course.name,
            "data": self.course.data,
        }
        whole = self._checkpoint.with_suffix(".part")
        torch.save(state, whole)
        whole.replace(self._checkpoint)

    def resume(self) -> bool:
        """Whether there was a checkpoint to go on from. Raises OtherPrompts, OtherFamily and
        OtherCourse."""
        if not self._checkpoint.exists():
            return False
        state: dict[str, Any] = torch.load(
            self._checkpoint, map_location=self.device, weights_only=True
        )
        if state["prompts"] != prompt_versions():
            raise OtherPrompts(self.run.out, state["prompts"])
        begun = Shape(**state["shape"]).family
        if begun is not self.run.family:  # some would read each other's weights without a word
            raise OtherFamily(self.run.out, begun)
        begun_on = state["course"], state.get("data", self.course.data)
        if begun_on != (self.course.name, self.course.data):
            raise OtherCourse(self.run.out)
        self.model.load_state_dict(state["model"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.progress = Progress(**state["progress"])
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch"].cpu())
        return True

    @property
    def _checkpoint(self) -> Path:
        return self.run.out / "checkpoint.pt"

    def _learn(self, states: Tensor, batch: Batch) -> None:
        flat = states.flatten(0, 1)
        table = self.model.embed_tokens
        loss = flat.new_zeros(())
        if len(batch.next_places):
            lost = self._language(flat[batch.next_places], table, batch.next_tokens)
            loss = loss + (lost * batch.next_weights).sum()
            self.progress.note("next", float(lost.detach().mean()))
        if len(batch.grade_places):
            scores = flat[batch.grade_places] @ table[self.grades].T
            lost = functional.cross_entropy(scores, batch.grades, reduction="none")
            loss = loss + (lost * batch.grade_weights).sum()
            self.progress.note("grade", float(lost.detach().mean() / _spread(batch.grades)))
        if len(batch.odds_places):
            loss = loss + self._odds_loss(flat, batch)
        loss.backward()

    def _turn(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def _odds_loss(self, flat: Tensor, batch: Batch) -> Tensor:
        scores = self.model.logits(flat[batch.odds_places])
        # Whichever way the labels are written here, only those compete.
        leading = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
        leading[batch.odds_rows] = torch.isin(batch.odds_tokens, self.leading)
        rivals = torch.where(
            leading, scores[:, self.leading].logsumexp(-1), scores[:, self.labels].logsumexp(-1)
        )
        among = batch.odds_among_labels
        total = torch.where(among, rivals, scores.logsumexp(-1))
        said = torch.zeros_like(total).index_add(
            0, batch.odds_rows, batch.odds_shares * scores[batch.odds_rows, batch.odds_tokens]
        )
        lost = total - said
        with torch.no_grad():
            known = torch.zeros_like(total)
            known.index_add_(0, batch.odds_rows, torch.special.entr(batch.odds_shares))
            sizes = torch.bincount(batch.odds_rows, minlength=len(total)).float()
            likely = scores.detach()[batch.odds_rows, batch.odds_tokens].exp()
            shown = torch.zeros_like(total).index_add_(0, batch.odds_rows, likely).log()
            gap, whole = shown - said.detach() - known, sizes.log() - known
            if whole[among].sum() > 1e-3:
                self.progress.note("fit", float(gap[among].sum() / whole[among].sum()))
                self.progress.recent["fits"] = self.progress.recent.get("fits", 0) + 1
            if not bool(among.all()):
                self.progress.note("list", float((lost - known)[~among].mean()))
        return (lost * batch.odds_weights).sum()

    def _set_rate(self) -> None:
        progress = self.progress
        left = 1 - progress.tokens / self.run.tokens
        factor = min(1.0, (progress.step + 1) / WARM_STEPS, max(0.01, left / FADING))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.run.learning_rate * factor

    def _watch(self, forward: Callable[[Tensor], Tensor]) -> None:
        self.model.eval()
        self._log({"watched": self.course.watched(self.model, self.progress, forward)})
        self.model.train()

    def _log(self, entry: dict[str, Any]) -> None:
        progress = self.progress
        at = {
            "step": progress.step,
            "tokens": progress.tokens,
            "minutes": round(progress.seconds / 60, 2),
            "stage": progress.stage,
            "most": progress.most,
        }
        with (self.run.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(at | entry) + "\n")


def _language_loss(states: Tensor, table: Tensor, tokens: Tensor) -> Tensor:
    """The whole vocabulary at every place is half of all work: bfloat16, as in the layers."""
    scores = (states.to(torch.bfloat16) @ table.T.to(torch.bfloat16)).float()
    said = scores.gather(1, tokens[:, None])[:, 0]
    return scores.logsumexp(-1) - said


def _optimizers(model: Mini, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and norms."""
    matrices = [weight for weight in model.layers.parameters() if weight.ndim == 2]
    chosen = set(map(id, matrices))
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    return [
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
    ]


def _spread(grades: Tensor) -> float:
    """The loss of knowing only how frequent each grade is."""
    shares = torch.bincount(grades, minlength=5).float() / len(grades)
    return max(1e-3, float(torch.special.entr(shares).sum()))
