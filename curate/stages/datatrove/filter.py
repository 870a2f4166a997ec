"""A stage as a datatrove filter: imported only by `as_datatrove`, because datatrove is imported here at the top.

Costs one Arrow table for every 1,000 documents, which is nothing beside the stage's own work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from curate.stages.contract import Effect, Filter, Mapper
from curate.stages.verdicts import without_spans

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["StageFilter"]


class StageFilter(BaseFilter):
    """Drops and edits documents as a curate stage does; columns that the stage adds become metadata.

    The stage sees the metadata of a batch as columns, apart from keys that Arrow cannot hold in one type, which are
    counted in the statistics as `not_shown_to_stage`. A quarantined document is dropped as `quarantined_<reason>`.
    """

    name = "curate"

    def __init__(self, stage: Mapper | Filter, exclusion_writer: Any = None) -> None:
        super().__init__(exclusion_writer, batch_size=stage.batch)
        self.stage = stage
        self.name = f"curate {type(stage).__name__}"
        self._apply: Callable[[pa.Table], Effect] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what `open()` loaded: every worker loads its own."""
        return {**self.__dict__, "_apply": None}

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether this document stays; its text and metadata are edited in place."""
        return self.filter_batch([doc])[0]

    def filter_batch(self, batch: Sequence[Document]) -> list[bool | tuple[bool, str]]:
        """Whether each document stays; texts and metadata are edited in place."""
        if self._apply is None:
            self._apply = _opened(self.stage)
        verdicts, columns = self._apply(self._table(batch))
        results: list[bool | tuple[bool, str]] = [True] * len(batch)
        for verdict in verdicts.to_pylist():
            document = batch[verdict["row"]]
            if verdict["verdict"] == "edited":
                spans = [(span["start"], span["end"]) for span in verdict["spans"] or ()]
                document.text = without_spans(document.text, spans) if verdict["text"] is None else verdict["text"]
            else:
                prefix = "quarantined_" if verdict["verdict"] == "quarantined" else ""
                results[verdict["row"]] = (False, prefix + verdict["reason"])
        for name, column in columns.items():
            for document, value in zip(batch, column.to_pylist(), strict=True):
                document.metadata[name] = value
        return results

    def _table(self, batch: Sequence[Document]) -> pa.Table:
        import pyarrow as pa

        columns = {
            "id": pa.array([document.id for document in batch], pa.string()),
            "text": pa.array([document.text for document in batch], pa.string()),
            "source_uri": pa.array(
                [str(d.metadata.get("source_uri") or d.metadata.get("file_path") or d.id) for d in batch]
            ),
        }
        for key in dict.fromkeys(key for document in batch for key in document.metadata):
            if key in columns:
                continue
            try:
                columns[key] = pa.array([document.metadata.get(key) for document in batch])
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                self.stat_update("not_shown_to_stage")
        return pa.table(columns)


def _opened(stage: Mapper | Filter) -> Callable[[pa.Table], Effect]:
    """One function for both kinds: verdicts, and the columns that the kept documents carry on."""
    if isinstance(stage, Mapper):
        return stage.open()
    measure = stage.open()

    def apply(batch: pa.Table) -> Effect:
        features = measure(batch)
        return Effect(stage.decide(features), {name: features.column(name) for name in stage.adds()})

    return apply
