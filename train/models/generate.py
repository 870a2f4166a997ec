"""A target for a source, by an encoder-decoder: the likeliest token each time, or beam search.

Beam search keeps the likeliest beginnings of a target, and of the targets that have ended those with the highest
log-probability divided by length^penalty (Wu et al. 2016 without its constants). When no beginning can become better than
the worst of them any more, as far as its score of now tells, the search ends. These are the rules of transformers'
`generate`, and so are the results (tested).
Each step reads one token a beam: keys and values of those before are kept and follow their beams.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.train.models.encoder_decoder import EncoderDecoder
from curate.train.parallel.agree import any_of_all

__all__ = ["translate"]


@torch.no_grad()
def translate(
    trunk: EncoderDecoder,
    tokens: Tensor,
    documents: Tensor | None = None,
    *,
    start: int,
    end: int,
    most: int,
    beams: int = 1,
    length_penalty: float = 1.0,
) -> Tensor:
    """Targets of some sources; the same for a source in any company, up to rounding.

    Args:
        trunk: An encoder-decoder; dropout is off while it generates. Where it is in shards all processes take part, each
            with its own sources, and take the likeliest token each time.
        tokens: (rows, length) sources.
        documents: (rows, length), -1 is padding; None where there is none.
        start: Token that the decoder begins with; it is no part of the target.
        end: Token that ends a target.
        most: Most tokens of a target, the end included.
        beams: Beginnings that are kept; 1 takes the likeliest token each time.
        length_penalty: Above 0 it favours long targets; beam search only.

    Returns:
        (rows, up to `most`) tokens; from its end on a target is filled with `end`.

    Raises:
        CurateError: The model gives numbers that are not finite.
    """
    training = trunk.training
    trunk.eval()
    try:
        reader = _Reader(trunk, tokens, documents, start, beams)
        if beams == 1:
            return _greedy(reader, end, most)
        return _search(reader, beams, end, most, length_penalty)
    finally:
        trunk.train(training)


class _Reader:
    """The decoder with its memory: reads one token of each target at a time.

    Attributes:
        rows: Number of sources.
    """

    def __init__(self, trunk: EncoderDecoder, tokens: Tensor, documents: Tensor | None, start: int, beams: int) -> None:
        self.trunk, self.cache, self.rows = trunk, trunk.new_cache(), len(tokens)
        source = trunk.encode(tokens, documents=documents)
        self.source: Tensor | None = source.repeat_interleave(beams, 0)
        self.documents = None if documents is None else documents.repeat_interleave(beams, 0)
        self.first = tokens.new_full((self.rows * beams, 1), start)

    def read(self, last: Tensor) -> Tensor:
        """Log-probabilities (targets, vocabulary) of the token after `last` (targets, 1).

        Raises:
            CurateError: There are none: the model diverged.
        """
        states = self.trunk.decode(last, self.source, documents=self.documents, cache=self.cache)
        self.source = None  # its keys and values are in the cache from now on
        logs = (states[:, -1] @ self.trunk.unembedding.T).float().log_softmax(-1)
        if not logs.amax(-1).isfinite().all():
            raise CurateError(
                "the model gives numbers that are not finite",
                hint="it diverged in training, or its weights are damaged",
            )
        return logs


def _greedy(reader: _Reader, end: int, most: int) -> Tensor:
    last, found = reader.first, []
    ended = torch.zeros_like(last, dtype=torch.bool)
    while len(found) < most and any_of_all(~ended):
        last = reader.read(last).argmax(-1, keepdim=True).masked_fill(ended, end)
        ended = ended | (last == end)
        found.append(last)
    return torch.cat(found, 1)


class _Targets(NamedTuple):
    """Some targets of each source.

    Attributes:
        tokens: (rows, targets, length).
        scores: (rows, targets).
    """

    tokens: Tensor
    scores: Tensor

    def best(self, count: int) -> tuple[_Targets, Tensor]:
        """Those with the highest scores, and their places (rows, count)."""
        scores, places = self.scores.topk(count)
        return _Targets(self.tokens.gather(1, places[..., None].expand(-1, -1, self.tokens.shape[2])), scores), places


def _search(reader: _Reader, beams: int, end: int, most: int, penalty: float) -> Tensor:
    rows, device = reader.rows, reader.first.device
    nowhere = torch.full((rows, beams), -torch.inf, device=device)
    done = _Targets(torch.full((rows, beams, most), end, device=device), nowhere)
    going = _Targets(done.tokens[..., :0], nowhere.index_fill(1, torch.zeros(1, dtype=torch.int64, device=device), 0.0))
    open_rows = torch.ones(rows, 1, dtype=torch.bool, device=device)
    last = reader.first
    for length in range(1, most + 1):
        longer, parents = _longer(going, reader.read(last), beams)
        ended = (longer.tokens[..., -1] == end) | (length == most)
        # more than `beams` are looked at only so that as many go on
        first = torch.arange(2 * beams, device=device) < beams
        closed = longer.scores.div(length**penalty).masked_fill(~(ended & first & open_rows), -torch.inf)
        padded = torch.nn.functional.pad(longer.tokens, (0, most - length), value=end)
        done, _ = _Targets(torch.cat((done.tokens, padded), 1), torch.cat((done.scores, closed), 1)).best(beams)
        going, places = longer._replace(scores=longer.scores.masked_fill(ended, -torch.inf)).best(beams)
        open_rows = open_rows & (going.scores[:, :1] / length**penalty > done.scores[:, -1:])
        if not open_rows.any():
            break
        parents = parents.gather(1, places) + torch.arange(rows, device=device)[:, None] * beams
        reader.cache.select(parents.flatten())
        last = going.tokens[..., -1].reshape(-1, 1)
    best = done.tokens[:, 0]
    return best[:, : int((best != end).sum(1).max()) + 1]


def _longer(going: _Targets, following: Tensor, beams: int) -> tuple[_Targets, Tensor]:
    """The 2 x `beams` likeliest targets with one token more, and the beams (rows, 2 x beams) that they come from."""
    rows, vocabulary = len(going.scores), following.shape[-1]
    scores = going.scores[..., None] + following.view(rows, -1, vocabulary)
    scores, places = scores.flatten(1).topk(2 * beams)
    parents, tokens = places // vocabulary, places % vocabulary
    before = going.tokens.gather(1, parents[..., None].expand(-1, -1, going.tokens.shape[2]))
    return _Targets(torch.cat((before, tokens[..., None]), 2), scores), parents
