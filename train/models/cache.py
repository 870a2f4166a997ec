"""What generation keeps of the tokens so far.

All keys and values are kept, of layers with a window too, whose mask hides those before it: texts join, leave and are
padded at the same places in all layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["BackboneCache", "Cache", "Memory"]


class Memory:
    """Keys and values of the tokens that one block has seen, (rows, tokens, key and value heads, head width)."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Remember those of new tokens, and give those of all."""
        self.keys = keys if self.keys is None else torch.cat((self.keys, keys), 1)
        self.values = values if self.values is None else torch.cat((self.values, values), 1)
        return self.keys, self.values


class Cache:
    """What generation keeps of the tokens so far: for each block a `Memory`, and the tokens' documents.

    Prompts of different lengths are padded on the left (documents -1).
    """

    def __init__(self) -> None:
        self.documents: Tensor | None = None
        self._memories: dict[int, Memory] = {}

    def __len__(self) -> int:
        """Tokens so far, padding included."""
        return 0 if self.documents is None else self.documents.shape[1]

    def memory(self, block: int) -> Memory:
        """That of a block, by its number."""
        return self._memories.setdefault(block, Memory())

    def extend(self, documents: Tensor) -> Tensor:
        """Remember the documents (rows, new) of new tokens, and give those of all."""
        self.documents = documents if self.documents is None else torch.cat((self.documents, documents), 1)
        return self.documents

    def select(self, rows: Tensor) -> None:
        """Keep these rows, some perhaps more than once, in this order: beams, or texts, that go on."""
        self._each(lambda kept: kept[rows], lambda documents: documents[rows])

    def trim(self) -> None:
        """Forget the first places, as far as no row has anything there."""
        if self.documents is not None and len(self):
            first = int((self.documents >= 0).any(0).int().argmax())
            self._each(lambda kept: kept[:, first:], lambda documents: documents[:, first:])

    def join(self, other: Cache) -> None:
        """Take in the rows of another one behind these; the shorter of the two is padded on the left."""
        longest = max(len(self), len(other))
        for one in (self, other):
            before = longest - len(one)
            one._each(
                lambda kept, before=before: functional.pad(kept, (0, 0, 0, 0, before, 0)),
                lambda documents, before=before: functional.pad(documents, (before, 0), value=-1),
            )
        assert self.documents is not None and other.documents is not None
        self.documents = torch.cat((self.documents, other.documents))
        for number, memory in self._memories.items():
            theirs = other.memory(number)
            assert memory.keys is not None and memory.values is not None
            assert theirs.keys is not None and theirs.values is not None
            memory.keys = torch.cat((memory.keys, theirs.keys))
            memory.values = torch.cat((memory.values, theirs.values))

    def _each(self, kept: Callable[[Tensor], Tensor], documents: Callable[[Tensor], Tensor]) -> None:
        if self.documents is not None:
            self.documents = documents(self.documents)
        for memory in self._memories.values():
            if memory.keys is not None and memory.values is not None:
                memory.keys, memory.values = kept(memory.keys), kept(memory.values)


class BackboneCache(Cache):
    """What generation keeps: the tokens' documents, and transformers' own memory."""

    def __init__(self) -> None:
        super().__init__()
        self.past: Any = None

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        super().select(rows)
        self.past.batch_select_indices(rows)

    def trim(self) -> None:
        """Nothing: its memory is transformers'."""
