"""How good documents are, by a linear model of n-grams: one that `curate label fit` made, or fastText's.

Source: Brown et al. 2020, appendix A, and Li et al. 2024 (DCLM), section 4.4: web pages that such a model takes for good ones
train better models. What it learns is what its labels say; look at who leaves (`curate audit bias`, `curate what-if`).
Cost: benchmarks/quality.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from curate.errors import CurateError, did_you_mean
from curate.stages.contract import Filter, Rule
from curate.stages.missing import needing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["QualityClassifier"]


class _Scores(Protocol):
    """A model that is open."""

    def probabilities(self, data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Of each label, texts by labels."""
        ...


class QualityClassifier(Filter):
    """Scores documents by a model of n-grams; drops those below a threshold, where one is set.

    The score is the probability of `label`. Models are files on this machine: of `curate label fit` (labels of a round, or of a
    column), or fastText's `.bin` and `.ftz`, which are read without fastText. A document without a word that the model knows
    has no score, and is dropped where there is a threshold.
    """

    libraries: ClassVar[tuple[str, ...]] = ("numba", "numpy")
    thresholds: ClassVar[frozenset[str]] = frozenset({"min_score", "max_score"})
    reasons: ClassVar[Mapping[str, str]] = {
        "low_score": "a lower score than `min_score`, or none",
        "high_score": "a higher score than `max_score`",
    }

    model: str = Field(
        description="The file: `model.safetensors` of `curate label fit`, or a fastText model that was trained with labels. "
        "Relative to the folder of the pipeline file; nothing is downloaded."
    )
    label: str = Field(description="Whose probability is the score; of fastText's labels without `__label__`.")
    min_score: float | None = Field(
        None, ge=0, le=1, description="Lowest score that is kept; unless it is given, all are."
    )
    max_score: float | None = Field(None, ge=0, le=1, description="Highest score that is kept.")
    column: str = Field("quality", min_length=1, description="What the column with the scores is called.")

    def model_files(self) -> Sequence[Path]:
        """The model."""
        return (self.beside(self.model),) if self.beside(self.model).is_file() else ()

    def facts(self) -> Mapping[str, str]:
        """The labels of the model, of which one must be `label`."""
        return {"labels": ", ".join(self._labels())}

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """The score."""
        return (self.column,)

    def edits(self) -> bool:
        """It only drops."""
        return False

    def _labels(self) -> list[str]:
        """The model's labels.

        Raises:
            CurateError: It is no model, or `label` is none of them.
        """
        from curate.labeling.classifier import saved_labels
        from curate.quality.fasttext import fasttext_labels

        path = self.beside(self.model)
        known = fasttext_labels(path) if _is_fasttext(path) else saved_labels(path)
        if self.label not in known:
            few = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
            near = did_you_mean(self.label, known) or f"it has: {few}"
            raise CurateError(f"the model has no label `{self.label}`", str(path), near)
        return known

    @needing("quality_classifier")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Measures the score (float64); null where the model knows nothing of the document."""
        import pyarrow as pa

        from curate.stages.buffers import text_buffer

        place = self._labels().index(self.label)
        model = self._model()

        def measure(batch: pa.Table) -> pa.Table:
            found = model.probabilities(*text_buffer(batch.column("text")))[:, place]
            return pa.table({self.column: pa.array(found, pa.float64(), from_pandas=True)})

        return measure

    def _model(self) -> _Scores:
        from curate.labeling.classifier import load
        from curate.quality.fasttext import read_fasttext
        from curate.quality.linear import scorer

        path = self.beside(self.model)
        made: Any = read_fasttext(path) if _is_fasttext(path) else scorer(load(path), str(path))
        return made

    def rules(self) -> Sequence[Rule]:
        """The lowest score first."""
        return (
            Rule("low_score", self.column, minimum=self.min_score),
            Rule("high_score", self.column, maximum=self.max_score),
        )


def _is_fasttext(path: Path) -> bool:
    """Whether a file is to be read as fastText's; else it is one of ours.

    Raises:
        CurateError: It is neither.
    """
    from curate.quality.fasttext import MAGIC

    if not path.is_file():
        raise CurateError(
            f"there is no model `{path}`", hint="`model` is a file on this machine; nothing is downloaded"
        )
    with path.open("rb") as file:
        begin = file.read(9)
    if begin[:4] == MAGIC:
        return True
    if begin[8:] == b"{":  # how a safetensors file begins, behind the length of its header
        return False
    raise CurateError(
        "the file is no fastText model, and none of `curate label fit`", str(path),
        "fastText's are written by `save_model` (.bin) and `quantize` (.ftz); its text vectors (.vec) are no classifier",
    )  # fmt: skip
