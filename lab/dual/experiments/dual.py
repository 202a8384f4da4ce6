"""T + D on real architectures: as far from the models' own attention as rounding is.

The reference is the unmodified model with its own attention (sdpa): outputs of all heads of all
layers, and logits. Ours runs with the registered function, from the first layer to the last, so
that errors may pile up. In float64 the norms of both are patched: the library computes them in
float32, where smaller errors are rounded away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab.dual.drawing import panels
from lab.dual.families import (
    VOCABULARY,
    Family,
    heads_of,
    lrgd_mini,
    norms_in_float64,
    reading_by,
    tiny,
)
from lab.dual.prompts import Prompts
from lab.dual.registered import Parts

DEPTHS = (1, 2, 4, 8, 16, 32)
DTYPES = {"float64": torch.float64, "float32": torch.float32}
TOKENS, DEMONSTRATION = 64, slice(20, 48)
MINI = "mini"

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Agreement:
    """Relative errors. `layer`: the largest over layers, of all heads and tokens of a layer.
    `head`: the largest over layers and heads, of the last token alone. `eager`: how far the
    library's own two attentions are apart on the logits. `share`: of D in what heads put out at
    the last token, on average: what the decomposition is about."""

    layer: float
    head: float
    logits: float
    eager: float
    share: float
    logit_scale: float


def measure(seeds: int, mini_prompts: int, tell: Tell) -> tuple[dict[str, float], dict[str, Any]]:
    found: dict[tuple[str, str, int], Agreement] = {}
    asked = [(family, name) for family in Family for name in DTYPES]
    for number, (family, name) in enumerate(asked, start=1):
        for layers in DEPTHS:
            found[family, name, layers] = _worst(_tiny_agreements(family, name, layers, seeds))
        tell("families", number, len(asked))
    figures = {}
    for name in DTYPES:
        worst, layers = _mini_agreement(name, mini_prompts, tell)
        found[MINI, name, layers] = worst
    for (who, name, layers), one in found.items():
        figures[f"{who}.{name}.layer_error.L{layers}"] = one.layer
        figures[f"{who}.{name}.logit_error.L{layers}"] = one.logits
        figures[f"{who}.{name}.head_error.L{layers}"] = one.head
    rows = [
        {"family": who, "dtype": name, "layers": layers, **vars(one)}
        for (who, name, layers), one in found.items()
    ]
    return figures, {"seeds": seeds, "mini_prompts": mini_prompts, "rows": rows}


def _tiny_agreements(family: Family, name: str, layers: int, seeds: int) -> Iterator[Agreement]:
    marks = torch.zeros(TOKENS, dtype=torch.bool)
    marks[DEMONSTRATION] = True
    for seed in range(seeds):
        model = tiny(family, layers, DTYPES[name], seed=seed)
        drawn = torch.Generator().manual_seed(seed)
        yield agreement(model, torch.randint(3, VOCABULARY, (1, TOKENS), generator=drawn), marks)


def _mini_agreement(name: str, count: int, tell: Tell) -> tuple[Agreement, int]:
    model = lrgd_mini(DTYPES[name])
    found = []
    for number, one in enumerate(Prompts().first(count), start=1):
        ids = torch.tensor([one.ids])
        found.append(agreement(model, ids, torch.tensor(one.demonstration)))
        tell(f"{MINI}, {name}", number, count)
    return _worst(found), model.config.num_hidden_layers


def agreement(model: Any, ids: Tensor, demonstration: Tensor) -> Agreement:
    with torch.no_grad():
        return _agreement(model, ids, demonstration)


def _agreement(model: Any, ids: Tensor, demonstration: Tensor) -> Agreement:
    if model.dtype == torch.float64:
        norms_in_float64(model)
    heads, logits = heads_of(model, ids)
    parts = Parts(demonstration)
    with reading_by(model):
        ours = model(ids, use_cache=False, reader=parts).logits
    model.set_attn_implementation("eager")
    eager = model(ids, use_cache=False).logits
    model.set_attn_implementation("sdpa")
    pairs = list(zip(parts.heads, heads, strict=True))
    last = [(mine[:, :, -1], theirs[:, :, -1]) for mine, theirs in pairs]
    shares = [
        demonstrated[:, :, -1].norm() / mine[:, :, -1].norm()
        for demonstrated, mine in zip(parts.demonstration_parts, parts.heads, strict=True)
    ]
    return Agreement(
        layer=max(_apart(mine, theirs) for mine, theirs in pairs),
        head=max(
            float(((mine - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max())
            for mine, theirs in last
        ),
        logits=_apart(ours, logits),
        eager=_apart(eager, logits),
        share=float(torch.stack(shares).mean()),
        logit_scale=sum(parts.logit_scales) / len(parts.logit_scales),
    )


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def _worst(found: Iterable[Agreement]) -> Agreement:
    rows = [vars(one) for one in found]
    kept = {name: max(row[name] for row in rows) for name in ("layer", "head", "logits", "eager")}
    means = {name: sum(row[name] for row in rows) / len(rows) for name in ("share", "logit_scale")}
    return Agreement(**kept, **means)


def draw(detail: dict[str, Any]) -> Any:
    figure, axes = panels(2)
    for axis, kind in zip(axes[0], ("layer", "logits"), strict=True):
        for family in Family:
            for name, line in (("float64", "-"), ("float32", "--")):
                rows = [r for r in detail["rows"] if (r["family"], r["dtype"]) == (family, name)]
                axis.plot(
                    [row["layers"] for row in rows],
                    [row[kind] for row in rows],
                    line,
                    marker="o",
                    markersize=3,
                    color=f"C{list(Family).index(family)}",
                    label=family.value if name == "float64" else None,
                )
        axis.axhline(1e-12, color="gray", linewidth=0.8)
        axis.axhline(1e-5, color="gray", linewidth=0.8, linestyle="--")
        axis.set(xscale="log", yscale="log", xlabel="layers", ylim=(1e-17, 1e-4))
        axis.set_xticks(DEPTHS, DEPTHS, minor=False)
    axes[0][0].set(title="worst layer, T + D", ylabel="relative error")
    axes[0][1].set(title="logits")
    axes[0][0].legend(title="float64 solid, float32 dashed")
    return figure
