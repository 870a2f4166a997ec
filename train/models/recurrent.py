"""A recurrent trunk: LSTM layers (Hochreiter and Schmidhuber 1997), as a language model or a reader of texts.

Every document starts with empty memory, wherever it stands: documents of a batch are read side by side, first all their
first tokens, then all their second ones, as `torch.nn.utils.rnn.PackedSequence` lays them out. So a packed row gives
what its documents give alone, padding costs nothing, and a step takes as long as its longest document.
Dropout lies between layers and never on the way from token to token (Zaremba et al. 2014).
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from curate.errors import CurateError
from curate.train.models.layers import pool
from curate.train.models.positions import document_positions
from curate.train.settings.architecture import Architecture

__all__ = ["Recurrent", "RecurrentBlock", "RecurrentCache"]

EMBEDDING_RANGE = 0.1
"""First embeddings are uniform within it (Zaremba et al. 2014)."""


class RecurrentCache:
    """What the layers remember of each row, to go on from.

    Attributes:
        memories: The two states of each block, (rows, width) both; empty before the first tokens.
    """

    def __init__(self) -> None:
        self.memories: list[tuple[Tensor, Tensor]] = []

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        self.memories = [(hidden[rows], cell[rows]) for hidden, cell in self.memories]

    def trim(self) -> None:
        """Nothing is kept of single tokens."""

    def join(self, other: RecurrentCache) -> None:
        """Take in the rows of another one behind these."""
        pairs = zip(self.memories, other.memories, strict=True)
        self.memories = [(torch.cat((one[0], two[0])), torch.cat((one[1], two[1]))) for one, two in pairs]


class _Runs(NamedTuple):
    """Documents of a batch side by side, longest first.

    Attributes:
        order: (tokens,) places in the flattened batch, all first tokens before all second ones.
        sizes: (longest,) documents that have a token at each step, on the CPU.
        rows: (documents,) row of each.
    """

    order: Tensor
    sizes: Tensor
    rows: Tensor


def _runs(documents: Tensor) -> _Runs:
    """Lay out documents (rows, length), -1 for padding; one that goes on after a gap begins anew.

    Where nothing but padding is left, the first place is read: every process must run every block (FSDP).
    """
    valid = documents >= 0
    if not valid.any():
        valid[0, 0] = True
    step = document_positions(documents)[valid]
    begins = step == 0
    number = begins.cumsum(0) - 1
    lengths = torch.bincount(number)
    longest_first = lengths.argsort(descending=True, stable=True)
    order = (step * len(lengths) + longest_first.argsort()[number]).argsort()
    places = valid.flatten().nonzero().squeeze(1)
    rows = places[begins][longest_first] // documents.shape[1]
    return _Runs(places[order], torch.bincount(step).cpu(), rows)


class RecurrentBlock(nn.Module):
    """One layer, and dropout of what it reads.

    Args:
        sizes: The architecture; each of two directions has half of the width.
    """

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        directions = 2 if sizes.bidirectional else 1
        self.dropout = nn.Dropout(sizes.dropout)
        self.cells = nn.LSTM(sizes.width, sizes.width // directions, bidirectional=sizes.bidirectional)

    def forward(
        self, states: Tensor, sizes: Tensor, memory: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer over documents side by side.

        Args:
            states: (tokens, width), in the order of `_Runs`.
            sizes: (longest,) documents at each step, on the CPU.
            memory: Both states that documents begin with, (directions, documents, width) each; None: zeros.

        Returns:
            States of the same shape, and both states at the documents' ends, without gradient.
        """
        packed, (hidden, cell) = self.cells(PackedSequence(self.dropout(states), sizes), memory)
        return packed.data.clone(), hidden.detach(), cell.detach()  # a view would lose the hooks of FSDP


class Recurrent(nn.Module):
    """A stack of LSTM layers.

    Args:
        sizes: The architecture; `bidirectional` for texts that are whole, and not for the next token.
        vocabulary: Number of tokens.
        length: Most tokens in a sequence; nothing depends on it.

    Raises:
        CurateError: Two directions cannot share an odd width.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"documents", "noise"})

    def __init__(self, sizes: Architecture, *, vocabulary: int, length: int) -> None:
        super().__init__()
        if sizes.bidirectional and sizes.width % 2:
            raise CurateError(
                f"the two directions cannot share a width of {sizes.width}", "model.width", "make it even"
            )
        self.sizes, self.width, self.sentence_width = sizes, sizes.width, sizes.width
        self.embedding = nn.Embedding(vocabulary, sizes.width)
        self.blocks = nn.ModuleList(RecurrentBlock(sizes) for _ in range(sizes.layers))
        self.dropout = nn.Dropout(sizes.dropout)
        if not sizes.tied:
            self.output = nn.Linear(sizes.width, vocabulary, bias=False)

    @property
    def unembedding(self) -> Tensor:
        """The matrix of the logits, (vocabulary, width)."""
        return self.embedding.weight if self.sizes.tied else self.output.weight

    def new_cache(self) -> RecurrentCache:
        """An empty memory for generation."""
        return RecurrentCache()

    def forward(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        noise: Tensor | None = None,
        cache: RecurrentCache | None = None,
    ) -> Tensor:
        """States (rows, length, width) of tokens (rows, length); zeros at padding.

        Args:
            tokens: Token numbers.
            documents: (rows, length), number of the document in its row, -1 is padding; None: a row is a document.
            noise: (rows, length, width), added to the embedded tokens.
            cache: Go on from it, and leave in it what the next call goes on from; a row is then one document.
        """
        states = self.embedding(tokens)
        if noise is not None:
            states = states + noise.to(states.dtype)
        runs = _runs(torch.zeros_like(tokens) if documents is None else documents)
        flat = states.flatten(0, 1)
        read = self._read(flat[runs.order], runs, cache, len(tokens))
        return torch.zeros_like(flat).index_copy(0, runs.order, read.to(flat.dtype)).view_as(states)

    def _read(self, states: Tensor, runs: _Runs, cache: RecurrentCache | None, rows: int) -> Tensor:
        if cache is not None:
            self._check(cache, runs, states, rows)
        for number, block in enumerate(self.blocks):
            memory = None
            if cache is not None:
                hidden, cell = cache.memories[number]
                memory = (hidden[None, runs.rows], cell[None, runs.rows])
            states, hidden, cell = block(states, runs.sizes, memory)
            if cache is not None:
                old = cache.memories[number]
                new = [kept.index_copy(0, runs.rows, last[0]) for kept, last in zip(old, (hidden, cell), strict=True)]
                cache.memories[number] = (new[0], new[1])
        return self.dropout(states)

    def _check(self, cache: RecurrentCache, runs: _Runs, states: Tensor, rows: int) -> None:
        assert not self.sizes.bidirectional, "a text that is read in both directions cannot go on"
        assert len(runs.rows.unique()) == len(runs.rows), "a row with a cache is one document"
        if not cache.memories:
            zeros = states.new_zeros(rows, self.width)
            cache.memories = [(zeros, zeros) for _ in self.blocks]

    def sentence(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        noise: Tensor | None = None,
        pooling: Literal["first", "last", "mean"] | None = None,
    ) -> Tensor:
        """What stands for each row's text, (rows, width); zeros for an empty row.

        Args:
            tokens: Token numbers (rows, length).
            documents: (rows, length), -1 is padding.
            noise: (rows, length, width), added to the embedded tokens.
            pooling: State of the first or last token, or the mean of all; None: the last one of each direction,
                which is the state of the first token for the direction that reads backward.
        """
        states = self(tokens, documents=documents, noise=noise)
        if pooling is None and self.sizes.bidirectional:
            forward, backward = states.chunk(2, dim=-1)
            return torch.cat((pool(forward, documents, "last"), pool(backward, documents, "first")), dim=-1)
        return pool(states, documents, pooling or "last")

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill a parameter.

        Uniform embeddings; input matrices as in Glorot and Bengio 2010 and orthogonal recurrent ones (Saxe et al. 2014),
        gate by gate; biases are 0, that of the forget gate 1 (Jozefowicz et al. 2015).

        Args:
            name: The parameter's name.
            tensor: Its whole values, on the CPU; changed in place.
            generator: Where the random numbers come from.
        """
        if ".weight_ih" in name:
            for gate in tensor.chunk(4):
                nn.init.xavier_uniform_(gate, generator=generator)
        elif ".weight_hh" in name:
            for gate in tensor.chunk(4):
                nn.init.orthogonal_(gate, generator=generator)
        elif ".bias_" in name:
            tensor.zero_()
            if ".bias_ih" in name:  # each gate has two biases, which add up
                tensor.chunk(4)[1].fill_(1.0)
        else:
            tensor.uniform_(-EMBEDDING_RANGE, EMBEDDING_RANGE, generator=generator)
