"""RecBole's side of the comparison: trains one of its models, and scores the questions.

Runs in RecBole's own environment, where nothing of this project is installed:

    python theirs.py TASK.json

The task names the model, its settings, the folder of atomic files, the questions, and where
scores go. RecBole splits by itself: the newest item of everybody is the test, the one before it
validation, so it learns from the same part as we do.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch

# Its checkpoints hold more than tensors, which newer versions of torch refuse unless told.
torch.load = functools.partial(torch.load, weights_only=False)

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402


def main(task: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    config = Config(
        model=task["model"],
        dataset=task["dataset"],
        config_dict={
            "data_path": task["folder"],
            "checkpoint_dir": task["folder"],
            "load_col": {
                "inter": ["user_id", "item_id", "timestamp"],
                "item": ["item_id", "title"],
            },
            "eval_args": {
                "split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user",
                "mode": "full",
            },
            "metrics": ["NDCG"],
            "topk": [10],
            "valid_metric": "NDCG@10",
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            **task["settings"],
        },
    )  # fmt: skip
    init_seed(config["seed"], reproducibility=True)
    logging.disable(logging.CRITICAL)
    dataset = create_dataset(config)
    train, valid, _ = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    best, _ = trainer.fit(train, valid, verbose=False, saved=True, show_progress=False)
    model.load_state_dict(torch.load(trainer.saved_model_file)["state_dict"])
    Path(trainer.saved_model_file).unlink()
    scores = scored(model, dataset, task["questions"], config["MAX_ITEM_LIST_LENGTH"])
    Path(task["scores"]).write_text(json.dumps({"valid": best, "scores": scores}))


@torch.no_grad()  # type: ignore[untyped-decorator]
def scored(
    model: Any, dataset: Any, questions: list[dict[str, Any]], longest: int
) -> dict[str, list[float]]:
    """By user, of each candidate. A candidate that nobody took is unknown here, and comes last."""
    model.eval()
    known = dataset.field2token_id["item_id"]
    found = {}
    for question in questions:
        history = [known[item] for item in question["history"]][-longest:]
        candidates = [known.get(item, 0) for item in question["candidates"]]
        asked = Interaction(
            {
                "user_id": torch.tensor([dataset.token2id("user_id", question["user_id"])]),
                "item_id_list": torch.tensor([history + [0] * (longest - len(history))]),
                "item_length": torch.tensor([len(history)]),
            }
        )
        scores = model.full_sort_predict(asked).view(-1)
        scores[0] = -1e9  # the place of nothing
        found[question["user_id"]] = scores[candidates].tolist()
    return found


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
