"""Edits that only say which spans go: the texts that they leave.

A stage that decides from what was measured has no texts at hand (a filter, a stage over all documents). It says `edited` with
spans and no text, and they are taken out here, of the text as it is before the stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.stages.verdicts import without_spans

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.state import State

__all__ = ["with_texts"]


def with_texts(state: State, verdicts: pa.Table) -> pa.Table:
    """The verdicts, each edit without a text with that which its spans leave.

    Args:
        state: The documents before the stage.
        verdicts: Of `verdict_schema()`; `row` is that of the shard.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    lacking = compute.and_(
        compute.equal(verdicts.column("verdict"), "edited"),
        compute.and_(compute.is_null(verdicts.column("text")), compute.is_valid(verdicts.column("spans"))),
    )
    places = np.flatnonzero(lacking.to_numpy())
    if not len(places):
        return verdicts
    before = state.column("text", verdicts.column("row").to_numpy()[places]).to_pylist()
    spans = verdicts.column("spans").take(pa.array(places)).to_pylist()
    texts = verdicts.column("text").to_pylist()
    for place, text, gone in zip(places.tolist(), before, spans, strict=True):
        texts[place] = without_spans(text, [(one["start"], one["end"]) for one in gone])
    return verdicts.set_column(verdicts.schema.get_field_index("text"), "text", pa.array(texts, pa.string()))
