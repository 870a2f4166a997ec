"""What documents are about: clusters of a sample, and for every document the nearest one.

The clusters are fitted on a drawn sample in one process (curate/mix/clusters.py); every document is then compared with them, a
group of shards at a time. Same documents and seed, same topics, whatever the workers; cosines are rounded, so that CPUs of
other kinds find the same but where one lies at the edge of a rounding. Cost: about 15 MB a CPU second beside the fit
(benchmarks/topics.py); memory is that of the sample's texts and words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from curate.errors import CurateError
from curate.stages.contract import Decision, Effect, Global, Verdicts
from curate.stages.selectors import as_compared
from curate.stages.verdicts import Unfit
from curate.stages.work import SHARD_BITS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.stages.work import Desk, Work

__all__ = ["Topics"]

SHOWN = 40
"""Most characters that are told of what is no embedding."""
_ADDRESS = r"(?i)(?:[a-z]{2,9}://|www\.)[^\s<>\"]+|[\p{L}\p{M}\p{N}._%+'-]*@[\p{L}\p{M}\p{N}._-]+"


class Topics(Global):
    """Sorts the documents into topics that it finds, and names them by their words.

    Every document gets `topic` (0 is the largest), `topic_name` (its most telling words) and `topic_distance` (1 - cosine, 0
    to 2); null where it has no word that the topics know, or no embedding. The artifact `topics` lists them; it has no row, and
    every document null, where no word stands in 3 documents of the sample and in at most half of them. Mix by them (`mix: by:
    [topic_name]`), or keep a topic in one split (`split: by: topic`). Addresses, links and words with digits do not count, and
    names are made of words that stand in at least 5 documents of the sample and are no stop words of their language. A
    person whom so many documents name can still name a topic: an erasure finds such a name where it stands as in the subject
    file, not single words of it.
    """

    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "spacy", "xxhash")
    reasons: ClassVar[Mapping[str, str]] = {
        "embedding_is_no_list": "quarantined: its embedding is not a list of numbers",
        "embedding_is_not_finite": "quarantined: its embedding has a number that is none, or an infinite one",
    }

    topics: int = Field(20, ge=2, le=1000, description="How many topics to find.")
    sample: int = Field(
        20_000, ge=10, description="About how many documents, drawn by their ids, the topics are found in."
    )
    dimensions: int = Field(
        64, ge=2, le=512, description="Singular vectors of tf-idf in which documents are compared, beside 8 more."
    )
    vocabulary: int = Field(30_000, ge=100, description="Most words that documents are told apart by.")
    characters: int = Field(
        10_000, ge=100, description="How much of the start of a document is looked at, in characters."
    )
    embedding: str | None = Field(
        None, description="Column of lists of numbers in which documents are compared, in place of their words."
    )
    seed: int = Field(1, ge=0, lt=2**64, description="Seed of the sample and of the clusters.")

    def columns(self) -> Sequence[str]:
        """The embedding."""
        return self.requires()

    def requires(self) -> Sequence[str]:
        """The embedding."""
        return (self.embedding,) if self.embedding else ()

    def embeddings(self) -> Sequence[str]:
        """The same."""
        return self.requires()

    def adds(self) -> Sequence[str]:
        """The topic, its name, and how far the document is from it."""
        return ("topic", "topic_name", "topic_distance")

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that draws; with an embedding also what is compared."""
        import pyarrow as pa

        from curate.mix.draw import draw

        def sign(batch: pa.Table) -> pa.Table:
            as_compared(batch)
            table = pa.table({"draw": draw(batch.column("id").to_pylist(), purpose="topics", seed=self.seed)})
            return (
                table.append_column("vector", _vectors(batch.column(self.embedding), self.embedding))
                if self.embedding
                else table
            )

        return sign

    def decide(self, work: Work) -> Decision:
        """Find the topics in a sample, then the nearest of every document."""
        share = min(1.0, self.sample / work.documents)
        parts = [one["part"] for one in work.each_group("draw_some", [{"share": share} for _ in work.bounds])]
        (fitted,) = work.each("fit", [{"parts": parts}])
        call = {"model": fitted["model"], "centres": fitted["centres"], "bounds": list(work.bounds)}
        found = work.each_group("assign", [call for _ in work.bounds])
        return Decision([one["found"] for one in found], {"topics": [(fitted["topics"], fitted["number"])]})

    def draw_some(self, desk: Desk, *, share: float) -> dict[str, Any]:
        """The documents of a group that the topics are found in."""
        import pyarrow as pa

        table = desk.signatures()
        table = table.filter(pa.array(table.column("draw").to_numpy() < share))
        texts = _beginnings(desk.texts(table.column("document").to_numpy()), self.characters)
        part = desk.write(table.drop_columns(["draw", "id", "document"]).append_column("text", texts))
        return {"part": part, "objects": [part]}

    def fit(self, desk: Desk, *, parts: list[str]) -> dict[str, Any]:
        """The topics: their words, what documents are compared by, and their centres."""
        import numpy as np
        import pyarrow as pa

        from curate.mix import clusters as found

        table = pa.concat_tables([desk.read(part) for part in parts])
        texts = pa.concat_arrays(table.column("text").chunks)
        counts = found.count_words(texts)
        known = found.vocabulary(counts, self.vocabulary)
        projection, vectors = np.zeros((len(known.words), 0)), np.zeros((len(texts), 0))
        if self.embedding:
            vectors = _matrix(table.column("vector"))
        elif known.words:
            matrix = found.tf_idf(counts, known)
            projection = found.singular_vectors(matrix, self.dimensions, self.seed)
            vectors = matrix @ projection
        vectors = found.sphere(vectors)
        there = np.flatnonzero(np.linalg.norm(vectors, axis=1) > 0)
        centres = found.clusters(vectors[there], min(self.topics, len(there)), self.seed)
        nearest = np.full(len(vectors), -1, dtype=np.int64)
        if len(there):
            nearest[there] = found.cosines(vectors[there], centres).argmax(axis=1)
        named, more = (
            pa.array(
                [" ".join(words) for words in found.names(counts, known, nearest, len(centres), most)], pa.string()
            )
            for most in (3, 12)
        )
        model = desk.write(
            pa.table({"word": pa.array(known.words, pa.string()), "idf": known.idf, "vector": _lists(projection)})
        )
        held = desk.write(pa.table({"name": named, "vector": _lists(centres)}))
        sizes = np.bincount(nearest[there], minlength=len(centres))
        told = desk.write(pa.table({"topic": np.arange(len(centres)), "name": named, "sampled": sizes, "words": more}))
        return {
            "model": model, "centres": held, "topics": told, "number": len(centres), "objects": [model, held, told],
        }  # fmt: skip

    def assign(self, desk: Desk, *, model: str, centres: str, bounds: list[int]) -> dict[str, Any]:
        """The nearest topic of every document of a group."""
        import numpy as np
        import pyarrow as pa

        from curate.mix.clusters import cosines, sphere

        topics = desk.read(centres)
        centre, named = _matrix(topics.column("vector")), topics.column("name")
        table = desk.signatures()
        documents = table.column("document").to_numpy()
        if not len(centre):
            vectors, centre, named = np.zeros((len(documents), 1)), np.zeros((1, 1)), pa.chunked_array([[""]])
        elif self.embedding:
            vectors = _matrix(table.column("vector"), centre.shape[1])
        else:
            vectors = self._compared(desk, desk.read(model))
        lengths = np.linalg.norm(vectors, axis=1)
        cosine = cosines(sphere(vectors), centre)
        nearest, known = cosine.argmax(axis=1), lengths > 0
        distance = np.round(1 - cosine.max(axis=1), 5)  # so that the last bits of a product do not matter
        found = pa.table({
            "shard": pa.array((documents >> np.uint64(SHARD_BITS)).astype(np.int64)),
            "row": pa.array((documents & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)),
            "topic": pa.array(nearest.astype(np.int32), mask=~known),
            "topic_name": named.take(pa.array(nearest, mask=~known)).combine_chunks(),
            "topic_distance": pa.array(distance.astype(np.float32), mask=~known),
        })  # fmt: skip
        cut = desk.write_cut(found, documents, bounds)
        return {"found": cut, "objects": [cut["run"]]}

    def _compared(self, desk: Desk, model: pa.Table) -> np.ndarray:
        """What the documents of a group are compared by: tf-idf on the singular vectors."""
        import numpy as np

        from curate.mix.clusters import Vocabulary, count_words, tf_idf
        from curate.mix.words import BATCH, texts_of

        known = Vocabulary(model.column("word").to_pylist(), model.column("idf").to_numpy())
        projection = _matrix(model.column("vector"))
        parts = [np.zeros((0, projection.shape[1]))]
        for texts in texts_of(desk):
            for start in range(0, len(texts), BATCH):
                some = _beginnings(texts.slice(start, BATCH), self.characters)
                parts.append(tf_idf(count_words(some), known) @ projection)
        return np.concatenate(parts)

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """The columns."""
        import numpy as np
        import pyarrow as pa

        order = np.searchsorted(found.column("row").to_numpy(), signatures.column("row").to_numpy())
        mine = found.take(pa.array(order))
        return Effect(Verdicts().table(), {name: mine.column(name) for name in self.adds()})


def _beginnings(texts: pa.Array, characters: int) -> pa.Array:
    """The starts of texts without addresses and links: their parts would name people, and tell no topic."""
    import pyarrow.compute as compute

    return compute.replace_substring_regex(compute.utf8_slice_codeunits(texts, 0, characters), _ADDRESS, " ")


def _vectors(column: pa.ChunkedArray, name: str) -> pa.Array:
    """A column of lists of numbers, or of JSON that says them, as lists of floats; empty where there is none."""
    import pyarrow as pa

    return pa.array([_vector(one, name) for one in column.to_pylist()], pa.list_(pa.float64()))


def _vector(given: Any, name: str) -> list[float]:
    import json
    import math

    try:
        found = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        found = given
    found = [] if found is None else found
    if not isinstance(found, list) or any(type(one) not in (int, float) for one in found):
        shown = str(given) if len(str(given)) <= SHOWN else f"{str(given)[: SHOWN - 3]}..."
        raise Unfit("embedding_is_no_list", f"`{name}` is {shown!r}, no list of numbers")
    if not all(math.isfinite(one) for one in found):
        raise Unfit("embedding_is_not_finite", f"`{name}` has a number that is none, or an infinite one")
    return found


def _lists(matrix: np.ndarray) -> pa.Array:
    import pyarrow as pa

    return pa.array(matrix.tolist(), pa.list_(pa.float64()))


def _matrix(column: pa.ChunkedArray, width: int = 0) -> np.ndarray:
    """Lists of one length (`width`, else that of the longest) as rows; empty ones are 0."""
    import numpy as np

    rows = column.to_pylist()
    width = width or max(map(len, rows), default=0)
    wrong = {len(row) for row in rows} - {0, width}
    if wrong:
        raise CurateError(f"embeddings have {min(wrong)} and {width} numbers", hint="all need the same number")
    return np.array([row or [0.0] * width for row in rows], dtype=np.float64).reshape(len(rows), width)
