"""Which rows of a snapshot are answers about a document that goes, or became one: pieces that the source `synthesize` keeps.

A row has the document's text in its prompt. `document` names it, an id of the dataset that was asked about; the documents that
were made of an answer are called `<task>/<document>/<sample>`, with `.<number>` where it gave several. All rows of one question
go together: the two orders of a judge, and an answer with all that was made of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from curate.dataset.erased import dataset_of
from curate.dataset.snapshots import snapshots
from curate.dataset.store import Store
from curate.erasure.going import Key, Row

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.ledger import Shard

__all__ = ["answer_file", "answers_about", "asked_datasets", "has_answers", "made_of"]

_FROM = "generated_from"
_NUMBER = re.compile(r"(/\d+)\.\d+\Z")


def has_answers(schema: pa.Schema) -> bool:
    """Whether a piece is of answers."""
    return {"@key", "asked", "document", "sample", "order"} <= {*schema.names}


def asked_datasets(store: Store) -> dict[str, set[str]]:
    """By piece of a snapshot, the datasets that were asked about."""
    found: dict[str, set[str]] = {}
    for _, record in snapshots(store):
        for piece in record["pieces"] if "dataset" in record["facts"] else ():
            found.setdefault(piece["object"], set()).add(dataset_of(record["facts"]["dataset"]))
    return found


def answers_about(
    table: pa.Table, documents: Collection[str], made: Collection[str], keys: Collection[str] = ()
) -> pa.Array:
    """Which rows of a piece of answers go.

    Args:
        table: The piece.
        documents: Ids of documents that were asked about.
        made: Ids of documents that were made of answers.
        keys: The ends of their places, behind `#`.
    """
    import pyarrow as pa

    questions = {_NUMBER.sub(r"\1", name.partition("/")[2]) for name in made if "/" in name}
    held = {_NUMBER.sub(r"\1", key) for key in keys}
    rows = table.select(["@key", "document", "sample"]).to_pylist()
    names = [f"{row['document']}/{row['sample']}" for row in rows]
    gone = questions | {name for name, row in zip(names, rows, strict=True) if row["@key"] in held}
    return pa.array(
        [row["document"] in documents or name in gone for name, row in zip(names, rows, strict=True)], pa.bool_()
    )


def answer_file(asked: str) -> str:
    """Where a store keeps an answer."""
    return f"answers/{asked[:2]}/{asked}.json"


def made_of(store: Store, shards: Mapping[str, Shard], keys: Collection[Key]) -> set[Row]:
    """The documents that answers about some documents became, of whatever dataset: each has `generated_from`.

    Args:
        store: The store.
        shards: Documents as they were read, by object.
        keys: Datasets and ids of those that were asked about.
    """
    asked = {name[:12]: of for name, of in asked_datasets(store).items()}
    found = set[Row]()
    for name, shard in shards.items():
        about = asked.get(shard.part.rpartition("@")[2], ())
        ids = {identity for dataset, identity in keys if dataset in about}
        if ids and _FROM in store.read_schema(name).names:
            named = store.read_table(name, [_FROM]).column(_FROM).to_pylist()
            found |= {(name, row) for row, one in enumerate(named) if one in ids}
    return found
