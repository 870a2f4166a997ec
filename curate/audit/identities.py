"""Mitigations by text: what a document would be with the groups swapped, or without any named.

`counterfactuals` swaps words of pairs (he and she, husband and wife) with a small grammar of English: `his` becomes `her`
before what it belongs to and `hers` alone, `her` becomes `his` or `him`. Names stay. A document with a word that only one of
the groups can be said to be (pregnant, prostate) is not swapped: the copy would be untrue. `mask_identities` puts one word in
the place of every term of a lexicon, into a column of its own: a filter that reads it with `on:` cannot see who is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from curate.audit.mentions import lexicon_files
from curate.stages.contract import Effect, Expander, Expansion, Mapper, Verdicts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Counterfactuals", "MaskIdentities"]

PAIRS = (
    ("he", "she"), ("himself", "herself"), ("man", "woman"), ("men", "women"), ("boy", "girl"), ("boys", "girls"),
    ("gentleman", "lady"), ("gentlemen", "ladies"), ("father", "mother"), ("fathers", "mothers"), ("son", "daughter"),
    ("sons", "daughters"), ("brother", "sister"), ("brothers", "sisters"), ("husband", "wife"), ("husbands", "wives"),
    ("uncle", "aunt"), ("uncles", "aunts"), ("nephew", "niece"), ("nephews", "nieces"), ("grandfather", "grandmother"),
    ("grandson", "granddaughter"), ("dad", "mom"), ("daddy", "mommy"), ("male", "female"), ("males", "females"),
    ("boyfriend", "girlfriend"), ("groom", "bride"), ("widower", "widow"), ("actor", "actress"), ("waiter", "waitress"),
    ("businessman", "businesswoman"), ("salesman", "saleswoman"), ("chairman", "chairwoman"), ("policeman", "policewoman"),
    ("mr", "ms"), ("sir", "madam"),
)  # fmt: skip
REFUSED = (
    "pregnant", "pregnancy", "uterus", "womb", "ovary", "ovaries", "ovarian", "menstruation", "menopause", "breastfeeding",
    "midwife", "prostate", "testicle", "testicles", "testicular", "sperm", "vasectomy", "penis", "vagina", "cervical",
    "motherhood", "fatherhood", "maternity", "paternity", "nun", "nuns", "monk", "monks", "pope",
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
_NO_NOUN = frozenset({
    "a", "an", "the", "and", "or", "but", "nor", "if", "as", "at", "by", "for", "from", "in", "into", "of", "off",
    "on", "out", "over", "so", "than", "that", "then", "this", "to", "too", "up", "was", "were", "with", "when",
    "while", "who", "what", "which", "is", "are", "be", "been", "will", "would", "can", "could", "may", "might",
    "must", "shall", "should", "had", "has", "have", "did", "do", "does", "not", "because", "before", "after",
    "until", "yet", "again", "away", "back", "down", "how", "why", "where", "there", "here", "all", "alone", "very",
})  # fmt: skip
"""Words that follow `her` where it means him, not his."""


class Counterfactuals(Expander):
    """Makes a copy of every document in which the groups of pairs of words are swapped, beside the document itself.

    The column `counterfactual` says what a document is: `original` (with a copy), `swapped` (the copy), `refused` (a word in it
    is true of one group alone), or `nothing` (no word of a pair).
    """

    version: ClassVar[int] = 1

    pairs: tuple[tuple[str, str], ...] = Field(
        (), description="Pairs of words that are swapped, in small letters; by default words of gender, in English."
    )
    refuse: tuple[str, ...] = Field(
        REFUSED, description="Words that keep a document from being swapped: what is true of one of the groups alone."
    )
    keep: Literal["both", "swapped"] = Field(
        "both", description="Whether documents stay beside their copies, or are replaced by them."
    )

    @field_validator("pairs")
    @classmethod
    def _words_are_in_one_pair(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        seen: set[str] = set()
        for pair in pairs:
            for word in pair:
                if not _WORD.fullmatch(word) or word != word.lower():
                    raise ValueError(f"`{word}` is not a word in small letters")
                if word in seen:
                    raise ValueError(f"`{word}` is in two pairs")
                seen.add(word)
        return pairs

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """The place, and what each document is."""
        return ("parent", "ordinal", "counterfactual")

    def open(self) -> Callable[[pa.Table], Expansion]:
        """The function that copies."""
        import pyarrow as pa

        swap, refused = self.swapping(), frozenset(self.refuse)

        def make(batch: pa.Table) -> Expansion:
            parents: list[int] = []
            made: list[tuple[str, str]] = []
            for row, text in enumerate(batch.column("text").to_pylist()):
                swapped = swap(text)
                stays = swapped == text
                stopped = not stays and not refused.isdisjoint(_WORD.findall(text.lower()))
                if stays or stopped:
                    made.append((text, "nothing" if stays else "refused"))
                else:
                    made += [(text, "original")] if self.keep == "both" else []
                    made.append((swapped, "swapped"))
                parents += [row] * (len(made) - len(parents))
            texts, kinds = [text for text, _ in made], [kind for _, kind in made]
            columns = {"text": pa.array(texts, pa.string()), "counterfactual": pa.array(kinds, pa.string())}
            return Expansion(pa.array(parents, pa.int64()), columns)

        return make

    def swapping(self) -> Callable[[str], str]:
        """The function that swaps a text."""
        pairs = self.pairs or PAIRS
        other = {one: two for pair in pairs for one, two in (pair, pair[::-1])}
        gendered = not self.pairs

        def swap(text: str) -> str:
            def of(match: re.Match[str]) -> str:
                word = match[0].lower()
                found = other.get(word)
                if found is None and gendered and word in ("his", "her", "him", "hers"):
                    found = _pronoun(word, text, match.end())
                return match[0] if found is None else _cased(match[0], found)

            return _WORD.sub(of, text)

        return swap


def _pronoun(word: str, text: str, end: int) -> str:
    """The other one of his, her, him and hers, by what stands behind it."""
    if word == "him":
        return "her"
    if word == "hers":
        return "his"
    following = re.compile(r"[ \t\n]+([^\W\d_]+)").match(text, end)
    owns = following is not None and following[1].lower() not in _NO_NOUN
    if word == "her":
        return "his" if owns else "him"
    return "her" if owns else "hers"


def _cased(like: str, word: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[0].isupper() else word


class MaskIdentities(Mapper):
    """Adds a column with the text in which every term of a lexicon is replaced, for filters that must not see who is meant.

    Put it before the filter, and let the filter read the column: `{stage: toxicity, on: masked_text}`. The text stays.
    """

    libraries: ClassVar[tuple[str, ...]] = ("numba",)

    lexicon: tuple[str, ...] = Field((), description="YAML files of words; by default curate's own, in English.")
    axes: tuple[str, ...] = Field((), description="Axes whose terms are replaced; all of them unless told.")
    placeholder: str = Field("person", description="What stands in the place of every term.")
    column: str = Field("masked_text", min_length=1, description="Name of the column.")

    @field_validator("column")
    @classmethod
    def _column_is_another(cls, column: str) -> str:
        if column in ("id", "text", "source_uri"):
            raise ValueError(f"`{column}` would be overwritten; name another column")
        return column

    def model_files(self) -> Sequence[Path]:
        """The words."""
        return lexicon_files([self.beside(path) for path in self.lexicon])

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """The masked text."""
        return (self.column,)

    def open(self) -> Callable[[pa.Table], Effect]:
        """The function that masks."""
        import pyarrow as pa

        from curate.audit.bias.lexicon import load_lexicon
        from curate.audit.bias.scan import scanner

        lexicon = load_lexicon(self.model_files())
        lexicon = lexicon.of_axis(self.axes) if self.axes else lexicon
        scan = scanner([term for term in lexicon.terms if term.section == "groups"])
        instead = self.placeholder.encode()

        def mask(batch: pa.Table) -> Effect:
            texts = batch.column("text")
            hits = scan(texts)
            places: dict[int, list[tuple[int, int]]] = {}
            for row, start, end in zip(hits.row.tolist(), hits.start.tolist(), hits.end.tolist(), strict=True):
                places.setdefault(row, []).append((start, end))
            masked = texts.to_pylist()
            for row, some in places.items():
                content, parts, at = masked[row].encode(), [], 0
                for start, end in some:
                    if start >= at:
                        parts += [content[at:start], instead]
                        at = end
                masked[row] = b"".join([*parts, content[at:]]).decode()
            return Effect(Verdicts().table(), {self.column: pa.array(masked, pa.string())})

        return mask
