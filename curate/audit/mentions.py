"""Who is mentioned in each document, as features of a run: the stage of `curate audit bias`, which measures for itself.

With it in a pipeline, the version report shows how often groups are mentioned where it stands, and the ledger holds counts by
document, removed ones too. Cost: about 150 MB of books per CPU second, whatever the number of terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from curate.stages.contract import Audit

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BiasAudit", "lexicon_files"]


def lexicon_files(paths: Sequence[Path]) -> list[Path]:
    """The files of a setting `lexicon`; of none, curate's own, which changes with the stage's code."""
    from curate.audit.bias.lexicon import DEFAULT

    return [*paths] or [DEFAULT]


class BiasAudit(Audit):
    """Counts how often documents mention groups of people, by a lexicon; changes nothing.

    The features are `axis.group` of the lexicon. `curate audit bias VERSION` says whom each stage removes, with intervals; it
    needs no stage of this kind in the pipeline.
    """

    libraries: ClassVar[tuple[str, ...]] = ("numba",)
    surveys: ClassVar[bool] = True

    lexicon: tuple[str, ...] = Field(
        (),
        description="YAML files of words, relative to the pipeline file; by default curate's own, in English.",
    )
    axes: tuple[str, ...] = Field((), description="Axes of the lexicon that are counted; all of them unless told.")

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def model_files(self) -> Sequence[Path]:
        """The words."""
        return lexicon_files([self.beside(path) for path in self.lexicon])

    def code_modules(self) -> Sequence[str]:
        """How they are found."""
        return ("curate.audit.bias.scan", "curate.audit.bias.lexicon")

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that counts: a column of int32 for every group."""
        import numpy as np
        import pyarrow as pa

        from curate.audit.bias.lexicon import load_lexicon
        from curate.audit.bias.scan import counted, scanner

        lexicon = load_lexicon(self.model_files())
        lexicon = lexicon.of_axis(self.axes) if self.axes else lexicon
        pairs = lexicon.groups()
        terms = [term for term in lexicon.terms if term.section == "groups"]
        place = {pair: at for at, pair in enumerate(pairs)}
        group_of = np.array([place[term.axis, term.group] for term in terms])
        scan = scanner(terms)

        def measure(batch: pa.Table) -> pa.Table:
            counts = counted(scan(batch.column("text")), group_of, len(pairs))
            columns = {f"{axis}.{group}": pa.array(counts[:, at]) for at, (axis, group) in enumerate(pairs)}
            return pa.table(columns)

        return measure
