"""T + D against the unmodified model's own attention, which is another function than ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lab.dual.experiments.dual import agreement  # noqa: E402
from lab.dual.families import (  # noqa: E402
    VOCABULARY,
    Family,
    heads_of,
    norms_in_float64,
    reading_by,
    tiny,
)
from lab.dual.layer import Weights, dual_output  # noqa: E402
from lab.dual.registered import Parts, weights_of  # noqa: E402

pytestmark = pytest.mark.lab

TOKENS = 64


@pytest.fixture
def ids() -> Any:
    return torch.randint(3, VOCABULARY, (1, TOKENS), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def marks() -> Any:
    marks = torch.zeros(TOKENS, dtype=torch.bool)
    marks[20:48] = True
    return marks


@pytest.mark.parametrize("layers", [1, 4, 32])
@pytest.mark.parametrize("family", Family)
def test_the_parts_are_the_models_attention(
    family: Family, layers: int, ids: Any, marks: Any
) -> None:
    found = agreement(tiny(family, layers, torch.float64), ids, marks)
    assert found.layer < 1e-13
    assert found.head < 1e-12
    assert found.logits < 1e-13
    assert found.share > 0.2  # of the demonstration: there is something to part
    assert 2 < found.logit_scale < 4


@pytest.mark.parametrize("family", Family)
def test_so_they_are_in_float32(family: Family, ids: Any, marks: Any) -> None:
    found = agreement(tiny(family, 32, torch.float32), ids, marks)
    assert found.layer < 1e-5
    assert found.logits < 1e-5
    # The library's own two attentions are no nearer to each other.
    assert found.logits < 5 * found.eager


def test_the_librarys_norms_are_float32_in_a_float64_model(ids: Any) -> None:
    """Why they are patched: errors are rounded away there, and now and then made larger."""
    model = tiny(Family.LLAMA, 8, torch.float64)
    _, stock = heads_of(model, ids)
    norms_in_float64(model)
    _, patched = heads_of(model, ids)
    assert float((patched - stock).norm() / stock.norm()) > 1e-9


def test_a_wrong_group_of_heads_would_be_noticed(ids: Any, marks: Any) -> None:
    """The comparison has teeth: heads that read the other group's keys are far off."""

    class Crossed(Parts):
        def read(self, query: Any, key: Any, value: Any, mask: Any, scale: float) -> Any:
            return super().read(query, key.flip(1), value.flip(1), mask, scale)

    model = tiny(Family.LLAMA, 2, torch.float64)
    _, logits = heads_of(model, ids)
    with torch.no_grad(), reading_by(model):
        crossed = model(ids, use_cache=False, reader=Crossed(marks)).logits
    assert float((crossed - logits).norm() / logits.norm()) > 0.01


def test_mistrals_window_hides_what_lies_further_back(ids: Any, marks: Any) -> None:
    model = tiny(Family.MISTRAL, 1, torch.float64)
    marks = torch.arange(TOKENS) < 10  # further back than the last token reads
    parts = Parts(marks)
    with torch.no_grad(), reading_by(model):
        model(ids, use_cache=False, reader=parts)
    assert float(parts.demonstration_parts[0][:, :, -1].abs().max()) == 0
    assert float(parts.demonstration_parts[0][:, :, 20].abs().max()) > 0


def test_weights_do_not_overflow() -> None:
    loud = torch.full((1, 1, 2, 4), 1e3, dtype=torch.float64)
    weights, z = weights_of(loud, loud, torch.zeros(2, 2), 1.0)
    assert torch.isfinite(weights / z).all()


def test_the_numpy_layer_is_the_models(ids: Any, marks: Any) -> None:
    """The core of the theory, in its few lines, on a real Llama's weights and hidden states."""
    model = tiny(Family.LLAMA, 3, torch.float64)
    norms_in_float64(model)
    with torch.no_grad():
        states = model(ids, use_cache=False, output_hidden_states=True).hidden_states
    for number in (0, 1):  # behind the last layer the library norms what it shows
        found = dual_output(_weights(model, number), states[number][0].numpy(), marks.numpy())
        expected = states[number + 1][0, -1].numpy()
        # The library's angles are float32.
        assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-6


def _weights(model: Any, number: int) -> Weights:
    layer, config = model.model.layers[number], model.config
    attention, mlp = layer.self_attn, layer.mlp

    def by_head(matrix: Any, heads: int) -> Any:
        return matrix.detach().numpy().reshape(heads, -1, config.hidden_size)

    output = attention.o_proj.weight.detach().numpy()
    return Weights(
        norm=layer.input_layernorm.weight.detach().numpy(),
        query=by_head(attention.q_proj.weight, config.num_attention_heads),
        key=by_head(attention.k_proj.weight, config.num_key_value_heads),
        value=by_head(attention.v_proj.weight, config.num_key_value_heads),
        output=output.reshape(config.hidden_size, config.num_attention_heads, -1).swapaxes(0, 1),
        mlp_norm=layer.post_attention_layernorm.weight.detach().numpy(),
        gate=mlp.gate_proj.weight.detach().numpy(),
        up=mlp.up_proj.weight.detach().numpy(),
        down=mlp.down_proj.weight.detach().numpy(),
    )
