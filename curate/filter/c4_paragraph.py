"""mC4's rule of paragraphs (Xue et al. 2021, section 3.1): three lines of 200 characters; decided as datatrove 0.10 decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from curate.stages.contract import Filter, Rule

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["C4Paragraph"]


class C4Paragraph(Filter):
    """Drops documents with too few long lines: menus, tables, short notices.

    Lines end at line feeds. A measure of alphabets: in Chinese or Japanese 200 characters are a page.
    """

    version = 1
    thresholds = frozenset({"min_paragraphs"})

    reasons = {"too_few_paragraphs": "fewer lines of `min_characters` than `min_paragraphs`"}

    min_paragraphs: int = Field(3, ge=1, description="Fewest long lines.")
    min_characters: int = Field(200, ge=1, description="A line of at least so many characters is long.")

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Counts `paragraphs`, the long lines."""
        import pyarrow as pa

        least = self.min_characters

        def measure(batch: pa.Table) -> pa.Table:
            texts = batch.column("text").to_pylist()
            counts = [sum(len(line) >= least for line in text.split("\n")) for text in texts]
            return pa.table({"paragraphs": pa.array(counts, pa.int64())})

        return measure

    def rules(self) -> Sequence[Rule]:
        """The one rule."""
        return (Rule("too_few_paragraphs", "paragraphs", minimum=self.min_paragraphs),)
