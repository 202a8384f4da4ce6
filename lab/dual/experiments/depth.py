"""Error by depth: of the exact kernel, and of random features in its place in every layer.

Tiny Llamas with logits of a realistic scale; the same with the weights that the library draws,
whose logits are next to none, which makes any approximation look well; and lrgd-mini, trained, on
its own prompts. Beside the errors stands that of leaving all demonstrations out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.dual.drawing import panels
from lab.dual.families import (
    LOGIT_SCALE,
    VOCABULARY,
    Family,
    lrgd_mini,
    norms_in_float64,
    reading_by,
    tiny,
)
from lab.dual.features import normal_frequencies, orthogonal_frequencies
from lab.dual.prompts import Prompts
from lab.dual.registered import Parts, Reader, weights_of
from lab.statistics import spearman

DEPTHS = (1, 2, 4, 8, 16, 32)
SCALES = {"realistic": LOGIT_SCALE, "as_drawn": None}
TOKENS, DEMONSTRATION = 64, slice(20, 48)
FEATURES = 1_000
EXACT, NO_DEMO = "exact", "no_demo"
MAPS = ("trig", "positive", "orthogonal")
WAYS = (EXACT, *MAPS, NO_DEMO)

Tell = Callable[[str, int, int], None]


@dataclass
class Featured:
    """Attention with an estimate of kappa in its place, from fresh features in every layer.

    What is the same for all keys of a query cancels, so exponents are shifted to what fits.
    """

    map: str
    rng: np.random.Generator
    features: int = FEATURES
    nonpositive: float = 0.0  # the share of queries with Z <= 0, summed over layers
    layers: int = 0

    def read(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        query, key = (one * scale**0.5 for one in (query, key))
        if self.map == "trig":
            estimates = self._trigonometric(query, key)
        else:
            estimates = self._positive(query, key)
        estimates = estimates * (mask == 0)
        z = estimates.sum(-1, keepdim=True)
        self.nonpositive += float((z <= 0).double().mean())
        self.layers += 1
        return estimates @ value / z

    def _trigonometric(self, query: Tensor, key: Tensor) -> Tensor:
        frequencies = normal_frequencies(self.rng, self.features // 2, query.shape[-1])
        turns = torch.as_tensor(frequencies.T, dtype=query.dtype)
        one, other = query @ turns, key @ turns
        cosines = one.cos() @ other.cos().transpose(-1, -2)
        sines = one.sin() @ other.sin().transpose(-1, -2)
        sizes = key.pow(2).sum(-1) / 2
        lengths = torch.exp(sizes - sizes.amax(-1, keepdim=True)).unsqueeze(-2)
        return (cosines + sines) * lengths

    def _positive(self, query: Tensor, key: Tensor) -> Tensor:
        drawn = orthogonal_frequencies if self.map == "orthogonal" else normal_frequencies
        frequencies = drawn(self.rng, self.features, query.shape[-1])
        turns = torch.as_tensor(frequencies.T, dtype=query.dtype)
        one, other = query @ turns, key @ turns - key.pow(2).sum(-1, keepdim=True) / 2
        mapped = torch.exp(one - one.amax(-1, keepdim=True))
        return mapped @ torch.exp(other - other.amax((-1, -2), keepdim=True)).transpose(-1, -2)


@dataclass(frozen=True)
class Hidden:
    """Nothing reads the demonstration."""

    demonstration: Tensor

    def read(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        weights, _ = weights_of(query, key, mask, scale)
        weights = weights * (~self.demonstration).to(weights.dtype)
        return weights @ value / weights.sum(-1, keepdim=True)


def measure(seeds: int, prompts: int, tell: Tell) -> tuple[dict[str, float], dict[str, Any]]:
    figures: dict[str, float] = {}
    rows = []
    for scale_name, scale in SCALES.items():
        for number, layers in enumerate(DEPTHS):
            row = _tiny_row(layers, scale, seeds)
            rows.append({"scale": scale_name, "layers": layers, **row})
            figures |= {f"{scale_name}.{name}.L{layers}": row[name] for name in row}
            tell(f"depths, {scale_name}", number + 1, len(DEPTHS))
    mini = _mini_row(prompts, tell)
    figures |= {f"mini.{name}": value for name, value in mini.items()}
    return figures, {"seeds": seeds, "prompts": prompts, "features": FEATURES, "rows": rows}


def _readers(demonstration: Tensor, seed: int) -> dict[str, Reader]:
    return {
        EXACT: Parts(demonstration),
        **{name: Featured(name, np.random.default_rng((seed, n))) for n, name in enumerate(MAPS)},
        NO_DEMO: Hidden(demonstration),
    }


def _tiny_row(layers: int, scale: float | None, seeds: int) -> dict[str, float]:
    """Median relative error of the last token's logits; the logits' scale; the rate of Z <= 0."""
    marks = torch.zeros(TOKENS, dtype=torch.bool)
    marks[DEMONSTRATION] = True
    errors: dict[str, list[float]] = {name: [] for name in WAYS}
    scales, nonpositive = [], []
    for seed in range(seeds):
        model = tiny(Family.LLAMA, layers, torch.float64, seed=seed, logit_scale=scale)
        norms_in_float64(model)
        drawn = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, VOCABULARY, (1, TOKENS), generator=drawn)
        readers = _readers(marks, seed)
        expected, *found = _logits(model, ids, readers.values())
        for name, logits in zip(readers, found, strict=True):
            errors[name].append(float((logits - expected).norm() / expected.norm()))
        exact, trig = readers[EXACT], readers["trig"]
        assert isinstance(exact, Parts)
        assert isinstance(trig, Featured)
        scales.append(float(np.mean(exact.logit_scales)))
        nonpositive.append(trig.nonpositive / trig.layers)
    return {
        **{f"{name}.error": float(np.median(errors[name])) for name in WAYS},
        "trig.nonpositive_rate": float(np.mean(nonpositive)),
        "logit_scale": float(np.mean(scales)),
    }


def _mini_row(prompts: int, tell: Tell) -> dict[str, float]:
    """On the labels of its own prompts: error of their log-probabilities, whether the same item
    comes first, and the rank correlation."""
    model = lrgd_mini(torch.float64)
    norms_in_float64(model)
    errors: dict[str, list[float]] = {name: [] for name in WAYS}
    first: dict[str, list[float]] = {name: [] for name in WAYS}
    ranks: dict[str, list[float]] = {name: [] for name in WAYS}
    for number, prompt in enumerate(Prompts().first(prompts), start=1):
        readers = _readers(torch.tensor(prompt.demonstration), number)
        said = _logits(model, torch.tensor([prompt.ids]), readers.values())
        expected, *found = (torch.log_softmax(one[list(prompt.labels)], -1) for one in said)
        for name, logprobs in zip(readers, found, strict=True):
            errors[name].append(float((logprobs - expected).norm() / expected.norm()))
            first[name].append(float(logprobs.argmax() == expected.argmax()))
            ranks[name].append(spearman(logprobs.tolist(), expected.tolist()))
        tell("prompts", number, prompts)
    return {
        **{f"{name}.error": float(np.median(errors[name])) for name in WAYS},
        **{f"{name}.same_first": float(np.mean(first[name])) for name in WAYS},
        **{f"{name}.spearman": float(np.mean(ranks[name])) for name in WAYS},
    }


def _logits(model: Any, ids: Tensor, readers: Iterable[Reader]) -> list[Tensor]:
    """The model's own at the last token, and those by each reader."""
    with torch.no_grad():
        found = [model(ids, use_cache=False).logits[0, -1]]
        with reading_by(model):
            found += [model(ids, use_cache=False, reader=one).logits[0, -1] for one in readers]
    return found


def draw(detail: dict[str, Any]) -> Any:
    figure, (axes,) = panels(len(SCALES))
    for axis, scale in zip(axes, SCALES, strict=True):
        rows = [row for row in detail["rows"] if row["scale"] == scale]
        for name in WAYS:
            line = ":" if name == NO_DEMO else "-"
            errors = [row[f"{name}.error"] for row in rows]
            axis.plot(DEPTHS, errors, line, marker="o", markersize=3, label=name)
        mean = np.mean([row["logit_scale"] for row in rows])
        axis.set(title=f"{scale}: logit scale {mean:.2g}", xlabel="layers")
        axis.set(xscale="log", yscale="log")
        axis.set_xticks(DEPTHS, DEPTHS, minor=False)
    axes[0].set(ylabel="relative error of the logits")
    axes[0].legend(title=f"D = {detail['features']:,}")
    return figure
