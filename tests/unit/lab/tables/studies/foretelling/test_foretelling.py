"""Figures of planted rows: within users, between them, and by how much evidence."""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.tables.studies.foretelling.figures import figures_of, markdown


def rows(users: int = 40, texts: int = 8) -> list[dict[str, Any]]:
    """Each text has a worth; every event shows it with noise. Others' texts are worth less."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(users):
        level = float(rng.normal())
        said = []
        for place in range(texts):
            name = "others" if place >= texts - 3 else "generated"
            worth = float(rng.normal()) - (2.0 if name == "others" else 0.0)
            *held_out, test = ([level + worth + float(noise)] * 2 for noise in rng.normal(size=4))
            said.append({"set": name, "held_out": held_out, "test": test})
        zero = [[level, level]]
        found.append(
            {"user": f"u{number}", "texts": said,
             "zero_shot": {"set": None, "held_out": zero * 3, "test": zero[0]}}
        )  # fmt: skip
    return found


def test_more_held_out_events_foretell_more() -> None:
    figures, detail = figures_of(rows())
    own = {
        one["events"]: one["mean"]
        for one in detail["within"]
        if one["set"] == "generated" and one["measure"] == "log_score"
    }
    assert 0 < own[1] < own[3]
    assert figures["within.generated.log_score"] == own[3]
    assert abs(figures["within.generated.log_score.null"]) < 0.05
    # One event shows half of a text's worth: one more would share half with events to come.
    assert 0.5 < figures["events_for_half"] < 2.5
    assert figures["picked.gain.w3"] > 0.3


def test_texts_of_others_stand_apart_and_make_the_whole_easier_to_order() -> None:
    figures, _ = figures_of(rows())
    assert figures["within.all.log_score"] > figures["within.generated.log_score"]
    assert "within.learned.log_score" not in figures


def test_the_table_says_what_was_found() -> None:
    figures, detail = figures_of(rows())
    text = markdown("shop", figures, detail)
    assert f"| generated | log_score | 3 | {figures['within.generated.log_score']:+.3f} |" in text
    assert f"| 3 | {figures['picked.gain.w3']:+.3f} |" in text
