"""A version of a dataset as the source of another one."""

from __future__ import annotations

import json
import os

import pytest

from curate.errors import CurateError

PIPELINE = """\
dataset: second
sources:
  - {stage: dataset, id: first, name: toy}
stages:
  - {stage: "toy_stages:Shout", id: louder, word: second}
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def second(done):
    """The toy project after a run, and the pipeline of a dataset that is made of its version."""
    done.pipeline(PIPELINE)
    return done


def test_ids_columns_and_lineage_are_those_of_the_version(second):
    parent = second.open("toy")
    second.run()
    child = second.open("second")
    assert child.arrow(columns=["id"]) == parent.arrow(columns=["id"])
    assert set(parent.columns) <= set(child.columns)
    assert child.manifest["lineage"]["parents"] == [parent.version]
    first = child.arrow().slice(0, 1).to_pylist()[0]
    assert first["source_uri"] == f"toy#{first['id']}"
    assert first["original_uri"] == parent.arrow(columns=["source_uri"]).column(0)[0].as_py()


def test_a_pinned_version_stays_whatever_becomes_of_the_name(second):
    pinned = second.open("toy").version
    before = second.run()
    second.write("one.txt", "another line altogether")
    second.pipeline(TOY)
    second.run()
    assert second.open("toy").version != pinned
    second.pipeline(PIPELINE)
    assert second.run().version == before.version
    assert second.cli("collect", "pipeline.yaml", "--refresh", "first").code == 0
    assert second.run().version != before.version
    assert second.open("second").manifest["lineage"]["parents"] == [second.open("toy").version]


TOY = """\
dataset: toy
sources:
  - {stage: "toy_stages:Lines", id: lines}
stages: []
"""


def test_why_crosses_into_the_version_that_was_read(second):
    second.run()
    document = second.open("second").arrow(columns=["id"]).column(0)[0].as_py()
    told = json.loads(second.cli("why", document, "--version", "second", "--json").out)
    assert told["origin"]["dataset"] == "toy"
    assert told["origin"]["version"] == second.open("toy").version
    assert told["origin"]["source"].startswith(("one.txt#", "two.txt#"))
    shown = second.cli("why", document, "--version", "second").out
    assert "read from toy@" in shown
    assert "lines: read" in shown


def test_garbage_collection_keeps_a_pinned_version_and_one_that_is_gone_is_an_error(second):
    pinned = second.open("toy").version
    second.run()
    second.pipeline(TOY)
    second.run()
    for path in (second.root / ".curate").rglob("*"):
        os.utime(path, (1e9, 1e9))
    second.cli("data", "gc", "--keep-days", "0", "--keep-last", "1")
    assert second.store.blobs.exists(f"versions/{pinned}.json")
    second.pipeline(PIPELINE)
    second.run()
    second.store.blobs.delete(f"versions/{pinned}.json")
    with pytest.raises(CurateError, match="that is pinned is not in its store any more") as caught:
        second.run()
    assert "--refresh" in (caught.value.hint or "")


def test_a_version_that_somebody_was_erased_from_is_an_error_that_names_the_one_in_its_place(second):
    second.run()
    document = second.open("toy").arrow(columns=["id"]).column(0)[0].as_py()
    (second.root / "subject.yaml").write_text(
        f"documents: [{{id: {document}, dataset: toy}}, {{id: {document}, dataset: second}}]\n"
    )
    assert second.cli("data", "erase", "--subject-file", "subject.yaml").code == 0
    with pytest.raises(CurateError, match="was replaced when somebody was erased from it") as caught:
        second.run()
    assert second.open("toy").version[:12] in (caught.value.hint or "")
    assert second.cli("collect", "pipeline.yaml", "--refresh", "first").code == 0
    second.run()
    assert document not in second.open("second").arrow(columns=["id"]).column(0).to_pylist()


def test_a_version_of_another_store_and_some_of_its_columns(second, tmp_path):
    (second.root / ".curate").rename(tmp_path / "other")
    second.pipeline(PIPELINE.replace("name: toy", "name: toy@v1, store: ../other, columns: []"))
    assert second.cli("validate", "pipeline.yaml").code == 0
    assert second.run().documents["in"] > 50
    assert {"id", "text", "source_uri"} == set(second.open("second").columns)
    second.pipeline(PIPELINE.replace("name: toy", "name: toy, store: ../nowhere"))
    outcome = second.cli("collect", "pipeline.yaml", "--refresh", "first")
    assert (outcome.code, "there is no store at" in outcome.err) == (2, True)


def test_versions_are_mixed_by_where_documents_come_from(second):
    second.write("three.txt", *(f"a third kind of line, number {i}" for i in range(40)))
    for name in ("one.txt", "two.txt"):
        (second.root / name).unlink()
    second.pipeline(TOY.replace("dataset: toy", "dataset: third"))
    second.run()
    second.pipeline(
        "dataset: mixed\nsources:\n  - {stage: dataset, id: a, name: toy}\n  - {stage: dataset, id: b, name: third}\n"
        "stages:\n  - {stage: mix, parts: {toy: 'toy#*', third: 'third#*'}, weights: {toy: 1, third: 1}, max_repeats: 1}\n"
    )
    second.run()
    places = [one.partition("#")[0] for one in second.open("mixed").arrow(columns=["source_uri"]).column(0).to_pylist()]
    assert 20 < places.count("toy") < 60
    assert 20 < places.count("third") <= 40
