"""What documents cost a language model: bits a byte, and perplexity.

The model is one that `curate train` made, a folder of Hugging Face's, or an n-gram model (KenLM). Texts are read as
`curate eval` reads them (evaluation/models/tokens.py), so that the numbers are its numbers.

Source: Wenzek et al. 2020 (CCNet: perplexity of lines by n-grams), Marion et al. 2023 (the middle by perplexity trains best).
Cost: that of the model; n-grams: benchmarks/quality.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from curate.errors import CurateError, MachineError
from curate.stages.contract import Filter, Rule
from curate.stages.missing import needing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["Perplexity"]


class Perplexity(Filter):
    """Tells what documents cost a language model; drops those above or below a threshold, where one is set.

    `bits_per_byte` compares models whatever their tokens are; `perplexity` is of a token, of n-gram models of a word or end
    of line. A longer document than the model reads at once is read in windows: each token once, the last window full. n-gram
    models read each line that has a word, words being what stands between white space. A document without a token has
    neither number, and is dropped where there is a threshold. As a difficulty, name the column in train.yaml (`data:
    {difficulty: bits_per_byte}`).
    """

    thresholds: ClassVar[frozenset[str]] = frozenset(
        {"min_bits_per_byte", "max_bits_per_byte", "min_perplexity", "max_perplexity"}
    )
    reasons: ClassVar[Mapping[str, str]] = {
        "bits_per_byte": "fewer bits a byte than `min_bits_per_byte`, more than `max_bits_per_byte`, or no text",
        "perplexity": "a lower perplexity than `min_perplexity`, a higher one than `max_perplexity`, or no text",
    }

    model: str = Field(
        description="A run folder or checkpoint of `curate train`, a Hugging Face folder (safetensors), or a file with an "
        "n-gram model: ARPA text, or KenLM's binary where the package kenlm is installed. Nothing is downloaded."
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where the model computes. Numbers of two kinds of machine differ in their last digits."
    )
    length: int | None = Field(
        None, ge=8, description="Most tokens read at once; by default what the model takes. Not of n-gram models."
    )
    min_bits_per_byte: float | None = Field(
        None, ge=0, description="Fewest bits a byte that are kept: what says too little."
    )
    max_bits_per_byte: float | None = Field(
        None, ge=0, description="Most bits a byte that are kept: what is no language."
    )
    min_perplexity: float | None = Field(None, ge=1, description="Lowest perplexity that is kept.")
    max_perplexity: float | None = Field(None, ge=1, description="Highest perplexity that is kept.")
    prefix: str = Field("", description="What the names of the two columns begin with, where there are several models.")

    def model_files(self) -> Sequence[Path]:
        """The n-gram model; of a checkpoint what has the hashes of its files; of a folder all that is read."""
        path = self.beside(self.model)
        if not path.is_dir():
            return (path,) if path.is_file() else ()
        if found := _checkpoint(path):
            beside = [place / "tokenizer.json" for place in (found, found.parent.parent)]
            return [found / "checkpoint.json", *(one for one in beside if one.is_file())]
        return sorted(one for one in path.iterdir() if one.suffix in (".safetensors", ".json"))

    def facts(self) -> Mapping[str, str]:
        """What kind of model it is, and the versions of what computes it."""
        from importlib import metadata

        path = self.beside(self.model)
        if path.is_file():
            return {"model": self._ngram_kind(path)}
        if not path.is_dir():
            raise CurateError(
                f"there is no model `{self.model}`",
                hint="name a run folder, a checkpoint, a Hugging Face folder, or a file with n-grams, on this machine",
            )
        try:
            return {"model": "network", **{name: metadata.version(name) for name in ("torch", "tokenizers")}}
        except metadata.PackageNotFoundError:
            raise MachineError("`perplexity` needs torch", hint="pip install 'curate-lm[train]'") from None

    def _ngram_kind(self, path: Path) -> str:
        from curate.quality.ngrams import ngram_kind

        if self.length is not None:
            raise CurateError("`length` is of networks: n-gram models read a line at a time", str(path))
        return ngram_kind(path)

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """Both numbers."""
        return (f"{self.prefix}bits_per_byte", f"{self.prefix}perplexity")

    def edits(self) -> bool:
        """It only drops."""
        return False

    @needing("perplexity")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Measures the two numbers (float64)."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as compute

        self.facts()
        cost = self._cost()
        bits, perplexity = self.adds()

        def measure(batch: pa.Table) -> pa.Table:
            column = batch.column("text")
            nats, units = cost(column)
            size = compute.binary_length(column).to_numpy()
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                told = {bits: nats / size / np.log(2), perplexity: np.exp(nats / units)}
            there = (units > 0) & (size > 0)
            return pa.table({name: pa.array(values, pa.float64(), mask=~there) for name, values in told.items()})

        return measure

    def _cost(self) -> Callable[[pa.ChunkedArray], tuple[np.ndarray, np.ndarray]]:
        """The function that gives nats and tokens of texts."""
        if self.beside(self.model).is_file():
            from curate.quality.ngrams import open_ngrams

            return open_ngrams(self.beside(self.model))
        from curate.quality.reading import open_reader

        return open_reader(str(self.beside(self.model)), device=self.device, length=self.length)

    def rules(self) -> Sequence[Rule]:
        """Bits first."""
        bits, perplexity = self.adds()
        return (
            Rule("bits_per_byte", bits, minimum=self.min_bits_per_byte, maximum=self.max_bits_per_byte),
            Rule("perplexity", perplexity, minimum=self.min_perplexity, maximum=self.max_perplexity),
        )


def _checkpoint(folder: Path) -> Path | None:
    from curate.train.weights.origin import checkpoint_of

    return checkpoint_of(folder)
