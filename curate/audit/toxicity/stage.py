"""The stage `toxicity`: how toxic a text is, told by a lexicon, a small model, and Detoxify's where it is asked for.

It tags: `toxicity` and the rest are columns of every document, and none leaves unless `max_toxicity` says so. Whom a threshold
hits is what to look at first: the model's card (card.json) says what it does to neutral sentences about fifty groups, and that
it takes quotation and casual speech of some for the thing itself.

Cost, without Detoxify: benchmarks/RESULTS.md; a second to load, once for each worker. Detoxify's take about a second a
document on a core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.audit.toxicity.lexicon import LEXICON, read_lexicon
from curate.errors import CurateError, MachineError
from curate.stages.contract import Filter, Rule
from curate.stages.missing import needing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.audit.toxicity.detoxify import Classifier

__all__ = ["DetoxifyModel", "Toxicity"]


class DetoxifyModel(BaseModel):
    """A checkpoint in Detoxify's format, and the documents that it is asked about: those of a band, a sample, or both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str = Field(
        description="The file: a `.ckpt` of tensors (one that carries code is refused, and not run), or `NAME.safetensors` "
        "with its `config` in `NAME.json`. Relative to the pipeline file; nothing is downloaded."
    )
    folder: str | None = Field(
        None,
        description="Where `config.json` and the tokenizer of the model are (`bert-base-uncased`, ...); the checkpoint's "
        "folder unless told.",
    )
    band: tuple[float, float] | None = Field(
        None, description="Ask it about documents whose `toxicity_linear` is in here; for these its word counts."
    )
    sample: float | None = Field(
        None, gt=0, le=1, description="Ask it about this share of the documents, only to compare the two."
    )
    max_windows: int = Field(
        16, ge=1, description="Most windows of 512 tokens that are read of a document, at even distances."
    )

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if self.band is None and self.sample is None:
            raise ValueError("say which documents it is asked about: `band: [0.2, 0.8]`, `sample: 0.01`, or both")
        if self.band and not 0 <= self.band[0] < self.band[1] <= 1:
            raise ValueError(f"the band {list(self.band)} is not two ascending numbers from 0 to 1")
        return self

    def files(self, beside: Callable[[str], Path]) -> list[Path]:
        """What is read: the checkpoint, its description, and of the folder what configures the model and cuts tokens.

        Args:
            beside: What tells where a path of the settings leads.
        """
        path = beside(self.checkpoint)
        told = [path.with_suffix(".json")] if path.suffix == ".safetensors" else []
        folder = self.home(beside)
        if not path.is_file():
            raise CurateError(
                f"there is no checkpoint `{path}`", hint="`detoxify.checkpoint` is a file on this machine"
            )
        if not (folder / "config.json").is_file():
            raise CurateError(
                f"there is no `config.json` in `{folder}`",
                hint="`detoxify.folder` is a folder with config.json and tokenizer of the model that was trained",
            )
        names = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
                 "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model")  # fmt: skip
        return [path, *told, *(folder / name for name in names if (folder / name).is_file())]

    def home(self, beside: Callable[[str], Path]) -> Path:
        """The folder of configuration and tokenizer."""
        return beside(self.checkpoint).parent if self.folder is None else beside(self.folder)


class Toxicity(Filter):
    """Tells how toxic documents are; drops those above a threshold, where one is set.

    `toxicity` is the probability of the worst window (24 words) of the text, `toxicity_mean` the mean of all, `lexicon_terms`
    how many terms of the lexicon stand in it, `lexicon_severity` the severity of the worst. With `detoxify`, `toxicity_linear`
    is what the small model says, `detoxify_toxicity` and so on what the checkpoint says (null where it was not asked), and
    `toxicity` the checkpoint's for documents in the band. English; hate that uses no word for it is hardly seen.
    """

    batch = 100
    thresholds = frozenset({"max_toxicity", "max_toxicity_mean"})
    carries = ("toxicity", "toxicity_mean", "lexicon_terms")
    reasons = {
        "toxic": "its worst window is more toxic than `max_toxicity`",
        "toxic_mean": "it is more toxic in the mean than `max_toxicity_mean`",
    }

    max_toxicity: float | None = Field(
        None, ge=0, le=1, description="Highest `toxicity` that is kept; unless it is given, all are."
    )
    max_toxicity_mean: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Highest `toxicity_mean` that is kept; for long documents, whose worst window says little.",
    )
    lexicon: str | None = Field(
        None,
        description="A file of terms to count, instead of the packaged list: `TERM`, `TERM<tab>SEVERITY` or "
        "`TERM<tab>SEVERITY<tab>LANGUAGE` by line. A term with a language counts where the column `language` is none or "
        "that one.",
    )
    detoxify: DetoxifyModel | None = Field(None, description="A larger model for some of the documents.")

    def model_files(self) -> Sequence[Path]:
        """Weights, lexicon, and what Detoxify's model is made of."""
        from curate.audit.toxicity.linear import WEIGHTS

        return [WEIGHTS, self._lexicon(), *(self.detoxify.files(self.beside) if self.detoxify else [])]

    def _lexicon(self) -> Path:
        return LEXICON if self.lexicon is None else self.beside(self.lexicon)

    def facts(self) -> Mapping[str, str]:
        """How many terms are counted, and the versions of what runs Detoxify's model."""
        from importlib import metadata

        told = {"lexicon_terms": str(len(read_lexicon(self._lexicon()).listed))}
        if self.detoxify:
            self.detoxify.files(self.beside)
            for name in ("torch", "transformers"):
                try:
                    told[name] = metadata.version(name)
                except metadata.PackageNotFoundError:
                    raise MachineError(
                        f"`detoxify` needs {name}, which is not installed", hint="pip install 'curate-lm[toxicity]'"
                    ) from None
        return told

    def columns(self) -> Sequence[str]:
        """The language of the document, which terms may ask for."""
        return ("language",)

    @needing("toxicity")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Measures the features that the class names; a text without a word is not toxic."""
        import numpy as np
        import pyarrow as pa

        from curate.audit.toxicity.linear import load_model, score_texts
        from curate.audit.toxicity.words import character_table, count_terms

        model, table = load_model(), character_table()
        lexicon = read_lexicon(self._lexicon())
        terms, languages = lexicon.compiled(), lexicon.languages
        classifier = self._classifier()

        def measure(batch: pa.Table) -> pa.Table:
            data, offsets = _buffers(batch.column("text"))
            spoken = np.zeros(batch.num_rows, np.int64)
            if languages and "language" in batch.column_names:
                known = batch.column("language").to_pylist()
                spoken = np.array([languages.get(one, -1) if one else 0 for one in known], np.int64)
            greatest, mean = score_texts(data, offsets, model)
            found, worst = count_terms(
                data, offsets, table, terms.hashes, terms.values, terms.languages, terms.maybe, terms.longest, spoken
            )
            features = {"toxicity": greatest, "toxicity_mean": mean, "lexicon_terms": found, "lexicon_severity": worst}
            if classifier:
                features |= self._asked(batch, classifier, greatest, mean)
            return pa.table({
                name: pa.array(values, from_pandas=values.dtype.kind == "f") for name, values in features.items()
            })  # fmt: skip

        return measure

    def _classifier(self) -> Classifier | None:
        if self.detoxify is None:
            return None
        from curate.audit.toxicity.detoxify import load_classifier

        self.detoxify.files(self.beside)
        return load_classifier(
            self.beside(self.detoxify.checkpoint),
            self.detoxify.home(self.beside),
            max_windows=self.detoxify.max_windows,
        )

    def _asked(
        self, batch: pa.Table, classifier: Classifier, linear: np.ndarray, mean: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What the checkpoint says of those that it is asked about, NaN of all others, and what counts in the end."""
        import numpy as np
        import xxhash

        assert self.detoxify
        band, sample = self.detoxify.band, self.detoxify.sample
        within = (linear >= band[0]) & (linear <= band[1]) if band else np.zeros(len(linear), bool)
        drawn = np.zeros(len(linear), bool)
        if sample:
            ids = batch.column("id").to_pylist()
            drawn = np.array([xxhash.xxh3_64_intdigest(one) < sample * 2**64 for one in ids], bool)
        rows = np.flatnonzero(within | drawn)
        said_most, said_mean = classifier([batch.column("text")[int(row)].as_py() for row in rows])
        told = {"toxicity": linear.copy(), "toxicity_mean": mean.copy(), "toxicity_linear": linear}
        for place, name in enumerate(classifier.classes):
            told[f"detoxify_{name}"] = np.full(len(linear), np.nan, np.float32)
            told[f"detoxify_{name}"][rows] = said_most[:, place]
        place = classifier.classes.index("toxicity")
        decided = within[rows]
        told["toxicity"][rows[decided]] = said_most[decided, place]
        told["toxicity_mean"][rows[decided]] = said_mean[decided, place]
        return told

    def rules(self) -> Sequence[Rule]:
        """The worst window first."""
        return (
            Rule("toxic", "toxicity", maximum=self.max_toxicity),
            Rule("toxic_mean", "toxicity_mean", maximum=self.max_toxicity_mean),
        )


def _buffers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of the texts (uint8), and where each begins in them."""
    import numpy as np
    import pyarrow as pa

    texts = pa.concat_arrays(column.chunks) if len(column) else pa.array([], pa.string())
    if not len(texts):
        return np.zeros(1, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = texts.buffers()
    where = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4).astype(np.int64)
    return np.frombuffer(data, np.uint8) if data and data.size else np.zeros(1, np.uint8), where
