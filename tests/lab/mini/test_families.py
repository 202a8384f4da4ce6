"""One recipe, four architectures: the lean model, Hugging Face's and the embedded engine agree."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from lab.mini.export import export  # noqa: E402
from lab.mini.families import Family  # noqa: E402
from lab.mini.hugging_face import load_checkpoint  # noqa: E402
from lab.mini.model import Mini, Shape  # noqa: E402
from lab.mini.onnx_graph import UnfitModel, write_graph  # noqa: E402
from lab.mini.shop_course import ShopCourse  # noqa: E402
from lab.mini.tokenizer import END, MiniTokenizer  # noqa: E402
from lab.mini.training import OtherFamily, Run, Trainer  # noqa: E402
from services.llm.card import read_card  # noqa: E402
from services.llm.chat import Chat, Message  # noqa: E402
from services.llm.onnx import OnnxConfig, OnnxModel  # noqa: E402
from services.llm.port import Labels, Terms  # noqa: E402
from services.observability.metrics import Metrics  # noqa: E402
from services.settings import SHIPPED_MODEL  # noqa: E402

pytestmark = [pytest.mark.lab, pytest.mark.filterwarnings("default")]

TITLES = ("green tea", "green", "black coffee", "green teapot")
CHAT = Chat((Message("system", "Rank."), Message("user", "- green tea\n" * 30)), "Next:")
CLOSE = 1e-4  # of log-probs


def trainer_of(out: Path, family: Family) -> Trainer:
    run = Run(out, tokens=0, family=family, width=128, layers=2, compiled=False)
    return Trainer(run, ShopCourse(out, watched_users=1))


@pytest.fixture(scope="module", params=Family, ids=str)
def family(request: pytest.FixtureRequest) -> Family:
    return Family(request.param)


@pytest.fixture(scope="module")
def training(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, those of norms and biases too, of a scale at which
    attention is uneven; rounded as they are exported."""
    out = tmp_path_factory.mktemp("training")
    MiniTokenizer.load(SHIPPED_MODEL).save(out)
    trainer = trainer_of(out, family)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            drawn = torch.randn(weight.shape, generator=random)
            if weight.ndim == 2:
                drawn *= 2 * weight.shape[1] ** -0.5
            elif not name.endswith("bias"):
                drawn = 1 + 0.2 * drawn
            weight.copy_(drawn.half().float())
    trainer.save()
    return out


@pytest.fixture(scope="module")
def folder(training: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("model")
    export(training, to)
    return to


@pytest.fixture(scope="module")
def lean(training: Path) -> Mini:
    return load_checkpoint(training)[0]


@pytest.fixture
async def embedded(folder: Path) -> AsyncIterator[OnnxModel]:
    async with OnnxModel(OnnxConfig(folder), Metrics()) as model:
        yield model


def terms() -> Terms:
    return Terms.within(60)


def spoken(lean: Mini, tokens: list[int]) -> Any:
    """Log-probs of the next token after each."""
    with torch.no_grad():
        return torch.log_softmax(lean.logits(lean(torch.tensor([tokens])))[0].double(), -1)


async def test_hugging_faces_model_of_the_family_says_the_same(
    family: Family, folder: Path, lean: Mini, embedded: OnnxModel
) -> None:
    theirs, loaded = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert type(theirs).__name__ == family.architecture
    assert not any(loaded[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens = list(await embedded.tokenize(CHAT, terms()))
    with torch.no_grad():
        logits = theirs.eval()(torch.tensor([tokens])).logits[0]
    expected = spoken(lean, tokens)
    assert torch.allclose(torch.log_softmax(logits.double(), -1), expected, atol=CLOSE)
    assert float(expected.std()) > 1  # there is something to agree about


async def test_the_embedded_engine_says_the_same(lean: Mini, embedded: OnnxModel) -> None:
    tokens = list(await embedded.tokenize(CHAT, terms()))
    labels = Labels(("",) * 128, tuple(range(200, 328)))
    expected = spoken(lean, tokens)[-1, 200:328].tolist()
    for _ in ("cold", "cached"):
        (row,) = (await embedded.score_labels([CHAT], labels, terms())).rows
        assert row.logprobs == pytest.approx(expected, abs=CLOSE)


async def test_packed_titles_are_as_likely(lean: Mini, embedded: OnnxModel) -> None:
    prompt = list(await embedded.tokenize(CHAT, terms()))
    scores = (await embedded.score_titles(CHAT, TITLES, terms(), end=END)).scores
    for title, score in zip(TITLES, scores, strict=True):
        tokens = list(await embedded.tokenize(title + END, terms()))
        rows = spoken(lean, prompt + tokens)[len(prompt) - 1 : -1]
        expected = rows[torch.arange(len(tokens)), torch.tensor(tokens)].sum().item()
        assert score.logprob == pytest.approx(expected, abs=CLOSE)


async def test_the_trainings_folder_is_a_tokenizer_for_servers(
    training: Path, embedded: OnnxModel
) -> None:
    """Beside a Qwen2's configuration the library splits words its own way, whatever the tokenizer's
    files say; in the folder of the training no configuration lies beside them."""
    theirs = transformers.AutoTokenizer.from_pretrained(training)
    messages = [{"role": one.role, "content": one.content} for one in CHAT.messages]
    messages.append({"role": "assistant", "content": CHAT.lead})
    tokens = theirs.apply_chat_template(messages, continue_final_message=True, return_dict=False)
    assert tokens == list(await embedded.tokenize(CHAT, terms()))


def test_the_files_name_the_family(family: Family, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == family
    card = read_card(folder)
    assert card is not None
    assert card.architecture == family.architecture
    assert ("--family" in card.training.command) is (family is not Family.LLAMA)


def test_a_training_goes_on_in_its_own_family_alone(family: Family, training: Path) -> None:
    assert trainer_of(training, family).resume()
    other = Family.MISTRAL if family is Family.LLAMA else Family.LLAMA
    with pytest.raises(OtherFamily, match=f"--family {family}"):
        trainer_of(training, other).resume()


def test_a_checkpoint_from_before_there_were_families_is_a_llama() -> None:
    kept: dict[str, Any] = {"vocabulary": 97, "width": 64}
    assert Shape(**kept).family is Family.LLAMA


def test_a_window_that_would_hide_something_gets_no_graph(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"use_sliding_window": True, "sliding_window": 128}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnfitModel, match="no window"):
        write_graph(tmp_path)
