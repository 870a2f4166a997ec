"""What spaCy's entity recognizer says of texts, several times faster than by its own decoder.

spaCy (3.8) asks of some 70 actions at each word whether each is possible, and takes the interpreter's lock several times to
answer: two thirds of its time. Outside of an entity the network sees one word alone. So the best action there is found for
all words at once, then all entities that may have begun grow together, and last the texts are read from entity to entity.
Weights, sums and the order of actions are the same, and so are the entities (a test compares).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.privacy.persons import Entity

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

__all__ = ["entity_finder"]

TOGETHER, IN_A_GROUP = 64, 16
"""Texts that are ordered by length, and how many of these the network gets at once."""
_FEATURES = 3
"""What the network sees: the word, and inside of an entity its first word and the last one before."""


def entity_finder(pipeline: Language) -> Callable[[Sequence[str]], list[list[Entity]]]:
    """The function that gives of each text what the component `ner` finds.

    A model that is built in another way (a beam, other features, components beside `ner`) is run by spaCy itself.
    """
    ner: Any = pipeline.get_pipe("ner")
    model = ner.model
    plain = (
        pipeline.pipe_names == ["ner"]
        and ner.cfg["beam_width"] == 1
        and model.attrs.get("has_upper")
        and model.get_ref("lower").get_dim("nF") == _FEATURES
        and model.ops.name == "numpy"
    )
    if not plain:
        return lambda texts: [
            [(one.start_char, one.end_char, one.label_) for one in document.ents]
            for document in pipeline.pipe(texts, batch_size=TOGETHER)
        ]
    decode = _decoder(ner)

    def find(texts: Sequence[str]) -> list[list[Entity]]:
        found: list[list[Entity]] = [[] for _ in texts]
        for first in range(0, len(texts), TOGETHER):
            documents = [
                (pipeline.make_doc(text), row) for row, text in enumerate(texts[first : first + TOGETHER], first)
            ]
            documents = sorted((one for one in documents if len(one[0])), key=lambda one: len(one[0]))
            for at in range(0, len(documents), IN_A_GROUP):
                group = documents[at : at + IN_A_GROUP]
                for (_, row), entities in zip(group, decode([document for document, _ in group]), strict=True):
                    found[row] = entities
        return found

    return find


def _decoder(ner: Any) -> Callable[[Sequence[Doc]], list[list[Entity]]]:
    """The function that gives the entities of some texts that have words."""
    words, lower, upper = ner.model.layers
    bias = lower.get_param("b")
    names = [ner.moves.get_class_name(number) for number in range(ner.moves.n_moves)]
    number_of = {name: number for number, name in enumerate(names)}
    kinds = np.array([name[0] for name in names])
    labels = [name[2:] for name in names]
    inside = np.array([number_of.get(f"I-{label}", 0) for label in labels])
    final = np.array([number_of.get(f"L-{label}", 0) for label in labels])
    unseen = sorted(ner.model.attrs["unseen_classes"])
    named = np.array([bool(label) for label in labels])
    never = ~(((kinds == "B") | (kinds == "U")) & named | (kinds == "O"))

    def scores(word: Any, start: Any, before: Any) -> Any:
        """Of each action, given what the word, the start of the entity and the word before say: words x actions."""
        made = upper.predict((word + start + before + bias).max(axis=2))
        made[:, unseen] = -np.inf
        return made

    def decode(documents: Sequence[Doc]) -> list[list[Entity]]:
        from spacy.attrs import IS_SPACE

        said = lower.predict(words.predict(documents))  # words and, first, none x features x hidden x pieces
        ends = np.cumsum([len(one) for one in documents])
        last = np.zeros(ends[-1], bool)
        last[ends - 1] = True
        space = np.concatenate([one.to_array([IS_SPACE]).ravel() for one in documents]).astype(bool)
        outside = scores(said[1:, 0], said[0, 1], said[0, 2])
        outside[:, never] = -np.inf
        outside[np.ix_(last | space, kinds == "B")] = -np.inf
        outside[np.ix_(space, kinds == "U")] = -np.inf
        best = outside.argmax(axis=1)
        closes = np.arange(1, len(best) + 1)
        growing = np.flatnonzero(kinds[best] == "B")
        while growing.size:
            at = closes[growing]
            closes[growing] += 1
            made, rows, action = (
                scores(said[at + 1, 0], said[growing + 1, 1], said[at, 2]),
                np.arange(len(growing)),
                best[growing],
            )
            goes_on = ~last[at] & (made[rows, inside[action]] >= made[rows, final[action]])
            growing = growing[goes_on]
        starts = np.flatnonzero(kinds[best] != "O")
        found = zip(starts.tolist(), closes[starts].tolist(), (labels[one] for one in best[starts]), strict=True)
        return list(_read(documents, list(found)))

    return decode


def _read(documents: Sequence[Doc], entities: Sequence[tuple[int, int, str]]) -> Iterator[list[Entity]]:
    """From entity to entity: what begins inside of another one is none. Words are numbered over all texts."""
    ahead, first, behind = iter([*entities, (sys.maxsize, 0, "")]), 0, 0
    start, end, label = next(ahead)
    for document in documents:
        found: list[Entity] = []
        while start < first + len(document):
            if start >= behind:
                word = document[end - first - 1]
                found.append((document[start - first].idx, word.idx + len(word), label))
                behind = end
            start, end, label = next(ahead)
        first += len(document)
        yield found
