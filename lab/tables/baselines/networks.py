"""The networks, lean. Each tells from a user's items, after every one of them, where the next item
should lie; how likely an item is, is the product of both vectors.

    bprmf   arXiv 1205.2618: a vector of the user, whatever was taken before
    gru4rec arXiv 1511.06939, 1706.03847: a recurrent network over the items
    sasrec  arXiv 1808.09781: causal self-attention over the items
    hgn     arXiv 1906.09217: gates over the features and the items of a window, and item to item
    srgnn   arXiv 1811.00855: a gated network on the graph of a window
    fdsa    IJCAI 2019: self-attention over items beside one over what their titles say
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lab.tables.baselines.settings import Settings, Trained


@dataclass(frozen=True)
class Sizes:
    """`words`: by item the numbers of its title's words, padded with zeros."""

    users: int
    items: int
    words: Tensor
    vocabulary: int


class Network(nn.Module):  # type: ignore[misc]
    """Item 0 is nothing: it is neither seen nor expected."""

    def __init__(self, sizes: Sizes, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.items = nn.Parameter(0.05 * torch.randn(sizes.items + 1, settings.width))
        self.likes = nn.Parameter(torch.zeros(sizes.items + 1))
        self.drop = nn.Dropout(settings.dropout)

    def states(self, users: Tensor, items: Tensor) -> Tensor:
        """`items`: by user, oldest first, zeros behind. What is expected after each of them."""
        raise NotImplementedError

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        states: Tensor = self.states(users, items)
        return states

    def scores(self, states: Tensor, items: Tensor) -> Tensor:
        """Of each state, of some items of its own."""
        found: Tensor = (states.unsqueeze(-2) * self.items[items]).sum(-1) + self.likes[items]
        return found

    def scores_of(self, states: Tensor, items: Tensor) -> Tensor:
        """Of each state, of the same items."""
        found: Tensor = functional.linear(states, self.items[items], self.likes[items])
        return found

    def all_scores(self, states: Tensor) -> Tensor:
        """Of the whole catalog, from item 1."""
        found: Tensor = functional.linear(states, self.items[1:], self.likes[1:])
        return found


class BprMf(Network):
    def __init__(self, sizes: Sizes, settings: Settings) -> None:
        super().__init__(sizes, settings)
        self.users = nn.Embedding(sizes.users + 1, settings.width, padding_idx=0)
        nn.init.normal_(self.users.weight, std=0.05)

    def states(self, users: Tensor, items: Tensor) -> Tensor:
        return self.users(users)[:, None].expand(-1, items.shape[1], -1)


class Gru4Rec(Network):
    def __init__(self, sizes: Sizes, settings: Settings) -> None:
        super().__init__(sizes, settings)
        inner = 2 * settings.width
        self.gru = nn.GRU(settings.width, inner, settings.layers, batch_first=True)
        self.out = nn.Linear(inner, settings.width)

    def states(self, users: Tensor, items: Tensor) -> Tensor:  # noqa: ARG002
        seen, _ = self.gru(self.drop(self.items[items]))
        return self.out(seen)


class Attention(nn.Module):  # type: ignore[misc]
    """Causal self-attention: what is behind a place is not seen from it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.places = nn.Parameter(0.05 * torch.randn(settings.longest, settings.width))
        self.drop = nn.Dropout(settings.dropout)
        layer = nn.TransformerEncoderLayer(
            settings.width,
            settings.heads,
            4 * settings.width,
            settings.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(settings.width)

    def forward(self, vectors: Tensor) -> Tensor:
        length = vectors.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=vectors.device).triu(1)
        seen = self.drop(vectors + self.places[:length])
        found: Tensor = self.norm(self.layers(seen, mask=later))
        return found


class SasRec(Network):
    def __init__(self, sizes: Sizes, settings: Settings) -> None:
        super().__init__(sizes, settings)
        self.attention = Attention(settings)

    def states(self, users: Tensor, items: Tensor) -> Tensor:  # noqa: ARG002
        return self.attention(self.items[items])


class Fdsa(Network):
    """What titles say: the mean of their words, each weighed by attention."""

    words: Tensor

    def __init__(self, sizes: Sizes, settings: Settings) -> None:
        super().__init__(sizes, settings)
        self.register_buffer("words", sizes.words, persistent=False)
        self.meanings = nn.Embedding(sizes.vocabulary + 1, settings.width, padding_idx=0)
        nn.init.normal_(self.meanings.weight, std=0.05)
        self.weigh = nn.Linear(settings.width, 1)
        self.of_items, self.of_titles = Attention(settings), Attention(settings)
        self.out = nn.Linear(2 * settings.width, settings.width)

    def states(self, users: Tensor, items: Tensor) -> Tensor:  # noqa: ARG002
        words = self.words[items]
        meanings = self.meanings(words)
        weights = self.weigh(meanings).squeeze(-1).masked_fill(words == 0, -1e9)
        titles = (torch.softmax(weights, -1).unsqueeze(-1) * meanings).sum(-2)
        both = (self.of_items(self.items[items]), self.of_titles(titles))
        return self.out(torch.cat(both, -1))


class Hgn(Network):
    def __init__(self, sizes: Sizes, settings: Settings) -> None:
        super().__init__(sizes, settings)
        width, window = settings.width, settings.window
        self.users = nn.Embedding(sizes.users + 1, width, padding_idx=0)
        nn.init.normal_(self.users.weight, std=0.05)
        self.by_item = nn.Linear(width, width)
        self.by_user = nn.Linear(width, width, bias=False)
        self.place_of_item = nn.Linear(width, 1, bias=False)
        self.place_of_user = nn.Linear(width, window, bias=False)

    def states(self, users: Tensor, items: Tensor) -> Tensor:
        seen = _windows(items, self.settings.window)
        there = (seen > 0).float().unsqueeze(-1)
        vectors = self.drop(self.items[seen]) * there
        user = self.users(users)[:, None]  # users, 1, width
        gate = torch.sigmoid(self.by_item(vectors) + self.by_user(user)[:, :, None])
        gated = vectors * gate
        places = self.place_of_item(gated) + self.place_of_user(user)[..., None]
        weights = torch.sigmoid(places) * there
        pooled = (weights * gated).sum(-2) / weights.sum(-2).clamp(min=1e-6)
        # The product with the sum is the sum of the products, item to item.
        return user + pooled + vectors.sum(-2)


class SrGnn(Network):
    """Of a window's items, each place a node: those of one item share what comes in and goes out,
    as if they were one."""

    def __init__(self, sizes: Sizes, settings: Settings) -> None:
        super().__init__(sizes, settings)
        width = settings.width
        self.incoming, self.outgoing = nn.Linear(width, width), nn.Linear(width, width)
        self.cell = nn.GRUCell(2 * width, width)
        self.of_last = nn.Linear(width, width)
        self.of_each = nn.Linear(width, width, bias=False)
        self.weigh = nn.Linear(width, 1, bias=False)
        self.out = nn.Linear(2 * width, width)

    def states(self, users: Tensor, items: Tensor) -> Tensor:  # noqa: ARG002
        real = items > 0
        seen = _windows(items, self.settings.window)[real]
        found = self._of_windows(seen)
        return found.new_zeros(*items.shape, found.shape[-1]).masked_scatter(
            real.unsqueeze(-1), found
        )

    def _of_windows(self, seen: Tensor) -> Tensor:
        there = seen > 0
        same = (seen.unsqueeze(-1) == seen.unsqueeze(-2)) & there.unsqueeze(-1)
        same = same.float()
        steps = torch.zeros_like(same)
        steps[:, :-1, 1:] = torch.diag_embed((there[:, :-1] & there[:, 1:]).float())
        # An edge between two places is one between all places of the same two items.
        edges = same @ steps @ same
        shared = same.sum(-1).clamp(min=1)
        leaving = edges / edges.sum(-1, keepdim=True).clamp(min=1)
        coming = edges.transpose(1, 2)
        coming = coming / coming.sum(-1, keepdim=True).clamp(min=1)
        nodes = self.drop(self.items[seen])
        for _ in range(self.settings.layers):
            messages = torch.cat(
                (coming @ self.incoming(nodes), leaving @ self.outgoing(nodes)), -1
            )
            nodes = self.cell(messages.flatten(0, 1), nodes.flatten(0, 1)).view_as(nodes)
        last = nodes[:, -1]
        weights = self.weigh(torch.sigmoid(self.of_last(last)[:, None] + self.of_each(nodes)))
        weights = weights * (there / shared).unsqueeze(-1)
        return self.out(torch.cat((last, (weights * nodes).sum(1)), -1))


NETWORKS: dict[Trained, type[Network]] = {
    Trained.BPRMF: BprMf,
    Trained.GRU4REC: Gru4Rec,
    Trained.SASREC: SasRec,
    Trained.HGN: Hgn,
    Trained.SRGNN: SrGnn,
    Trained.FDSA: Fdsa,
}


def _windows(items: Tensor, size: int) -> Tensor:
    """By place the newest items up to it, the newest last, zeros before."""
    return functional.pad(items, (size - 1, 0)).unfold(1, size, 1)
