from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lab.mini.batches import steps  # noqa: E402
from lab.mini.corpus import Example  # noqa: E402
from lab.mini.export import export  # noqa: E402
from lab.mini.hugging_face import load_checkpoint  # noqa: E402
from lab.mini.model import Mini, Shape, prepare  # noqa: E402
from lab.mini.shop_course import ShopCourse  # noqa: E402
from lab.mini.training import Run, Trainer  # noqa: E402
from lab.mini.watching import likelihoods, sampled  # noqa: E402
from services.demonstrations.versions import prompt_versions  # noqa: E402
from services.llm.card import expect_prompts, read_card  # noqa: E402
from services.llm.chat import Chat, Message  # noqa: E402

pytestmark = [pytest.mark.lab, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("training")
    _trainer(out).train()
    return out


def _trainer(out: Path) -> Trainer:
    run = Run(out, tokens=30_000, width=64, layers=2, compiled=False)
    return Trainer(run, ShopCourse(out, watched_users=4))


def _small() -> Mini:
    torch.manual_seed(0)
    model = Mini(Shape(vocabulary=97, width=64, layers=2, heads=2, inner=128))
    prepare(model)
    model.eval()
    return model


def test_a_training_goes_on_where_it_was(trained: Path) -> None:
    trainer = _trainer(trained)
    assert trainer.resume()
    assert trainer.progress.step > 0
    assert trainer.progress.tokens >= 30_000
    assert trainer.train().step == trainer.progress.step


def test_the_log_has_losses_or_figures_on_every_line(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert any("watched" in line for line in lines)
    assert all({"step", "tokens", "minutes"} <= line.keys() for line in lines)


def test_packed_likelihoods_are_those_of_each_answer_alone() -> None:
    model = _small()
    prefix, answers = [5, 6, 7, 8], [[9, 10, 3], [11, 3], [9, 12, 13, 3]]
    with torch.no_grad():
        packed = likelihoods(model, prefix, answers)
        for answer, score in zip(answers, packed.tolist(), strict=True):
            ids = torch.tensor([[*prefix, *answer]])
            spoken = torch.log_softmax(model.logits(model(ids)), -1)[0]
            alone = sum(
                float(spoken[len(prefix) - 1 + place, token]) for place, token in enumerate(answer)
            )
            assert score == pytest.approx(alone, abs=1e-4)


def test_a_step_of_several_batches_is_a_step_of_one() -> None:
    """Whatever is padded beside what."""
    rng = np.random.default_rng(0)
    examples = []
    for size in rng.integers(4, 40, 24).tolist():
        example = Example(rng.integers(3, 97, size).tolist())
        example.expect(range(size - 1), 1.0)
        examples.append(example)
    gradients = []
    for most in (100, 10_000):
        model = _small()
        for batch in next(steps(iter(examples), len(examples), most, rng, pad=1)):
            states = model(batch.ids).flatten(0, 1)[batch.next_places]
            lost = torch.nn.functional.cross_entropy(
                model.logits(states), batch.next_tokens, reduction="none"
            )
            (lost * batch.next_weights).sum().backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert torch.allclose(*gradients, atol=1e-5)
    assert gradients[0].abs().max() > 1e-3


def test_nothing_is_dropped_once_it_is_trained() -> None:
    torch.manual_seed(0)
    model = Mini(Shape(vocabulary=97, width=64, layers=2, heads=2, inner=128), dropout=0.5)
    prepare(model)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        assert not torch.equal(model(ids), model(ids))
        model.eval()
        assert torch.equal(model(ids), model(ids))


def test_sampling_in_company_is_sampling_alone() -> None:
    model = _small()
    with torch.no_grad():
        together = sampled(model, [[5, 6, 7], [8, 9, 10, 11, 12]], end=1, temperature=1e-4, most=8)
        alone = [
            sampled(model, [prompt], end=1, temperature=1e-4, most=8)[0]
            for prompt in ([5, 6, 7], [8, 9, 10, 11, 12])
        ]
    assert together == alone


def test_hugging_faces_model_says_the_same(trained: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    export(trained, tmp_path)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ours, tokenizer, _ = load_checkpoint(trained)
    ids = torch.tensor([tokenizer.encode("Rank the candidates.\n- Nordvik Classic Tent | SR")])
    with torch.no_grad():
        for weight in ours.parameters():
            weight.copy_(weight.half().float())  # as they are exported
        assert torch.allclose(ours.logits(ours(ids)), theirs(ids).logits, atol=1e-4)


def test_hugging_faces_tokenizer_renders_the_same_chats(trained: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    export(trained, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    _, tokenizer, _ = load_checkpoint(trained)
    asked = {"role": "user", "content": "Rank.\n- a | SR"}
    led = theirs.apply_chat_template(
        [asked, {"role": "assistant", "content": "Next:"}],
        continue_final_message=True,
        return_dict=False,
    )
    user = Message("user", asked["content"])
    assert led == tokenizer.chat(Chat((user,), "Next:"))
    open_turn = theirs.apply_chat_template([asked], add_generation_prompt=True, return_dict=False)
    assert open_turn == tokenizer.chat(Chat((user,)))


def test_the_card_says_what_the_training_was(trained: Path, tmp_path: Path) -> None:
    export(trained, tmp_path)
    card = read_card(tmp_path)
    assert card is not None
    expect_prompts(card, prompt_versions())
    assert card.training.tokens >= 30_000
    assert "--width 64 --layers 2" in card.training.command


def test_the_shipped_files_are_small(trained: Path, tmp_path: Path) -> None:
    files = {file.name for file in export(trained, tmp_path)}
    assert {"config.json", "model.safetensors", "model.onnx", "tokenizer.json"} <= files
    assert {"card.json", "README.md"} <= files
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert np.sum([(tmp_path / name).stat().st_size for name in files]) < 25_000_000
