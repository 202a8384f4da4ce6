"""Titles packed into one run: each sees its own beginning and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.llm.onnx.packing import ROOT, packed

titles_strategy = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple), min_size=1, max_size=12
)


@given(titles_strategy, st.integers(1, 20))
def test_every_title_can_be_read_back(titles: list[tuple[int, ...]], most: int) -> None:
    read = []
    for pack in packed(titles, most):
        mask, depths = pack.mask(), pack.depths()
        for title, path in zip(pack.titles, pack.paths, strict=True):
            read.append(title)
            assert path[0] == ROOT
            nodes = path[1:]
            assert tuple(pack.tokens[node] for node in nodes) == titles[title][:-1]
            assert [int(depths[node]) for node in nodes] == list(range(len(nodes)))
            for place, node in enumerate(nodes):
                seen = {other for other in range(len(pack.tokens)) if mask[node, other] == 0}
                assert seen == set(nodes[: place + 1])
    assert sorted(read) == list(range(len(titles)))


@given(titles_strategy, st.integers(1, 20))
def test_a_pack_holds_what_it_may_unless_one_title_is_longer(
    titles: list[tuple[int, ...]], most: int
) -> None:
    for pack in packed(titles, most):
        assert len(pack.tokens) <= most or len(pack.titles) == 1


def test_titles_that_begin_alike_share_their_beginning() -> None:
    (pack,) = packed([(1, 2, 3, 9), (1, 2, 4, 9), (1, 2, 3, 9)])
    assert len(pack.tokens) == 4
    assert len(pack.titles) == 3


def test_no_titles_make_no_pack() -> None:
    assert list(packed([])) == []


def test_a_title_without_tokens_is_read_from_nowhere() -> None:
    (pack,) = packed([()])
    assert pack.paths == [[]]
