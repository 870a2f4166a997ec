"""Single tasks, in this process: reading parts, calling stages, and the check that nothing is lost."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from curate.dataset.fragments import Fragment
from curate.dataset.ledger import Shard, Step
from curate.dataset.store import Store
from curate.errors import CurateError, ResumableError
from curate.pipeline import plan
from curate.pipeline.calls import Blame, calls
from curate.pipeline.manifest import Conservation, ConservationError
from curate.pipeline.plan import Inputs, sections
from curate.pipeline.task import collect
from curate.stages.contract import Mapper, Part, Rejected, Source


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", create=True)


def table(count, start=0, **columns):
    rows = range(start, start + count)
    return pa.table({"text": [f"text {i}" for i in rows], "source_uri": [f"p#{i}" for i in rows], **columns})


class Given(Source):
    """Gives what stands in `items`."""

    items: tuple = ()

    def plan(self, context):
        return []

    def read(self, part):
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item


def collected(store, *items, shard_bytes=10**9, limit=None):
    said = []
    source = Given.model_construct(items=items)
    shards = collect(store, source, "source", [Part("p", "p", "c")], {}, shard_bytes, limit, said.append, "d")
    assert said[-1] is None
    return shards


# ---- collect


@pytest.mark.parametrize("wide", [["w" * 600] * 2, [b"w" * 600] * 2, [["w" * 600]] * 2, [None, "w" * 1200]])
def test_shards_are_cut_by_the_bytes_of_all_columns(store, wide):
    tables = [table(2, 2 * n, wide=wide) for n in range(4)]
    assert [shard.documents for shard in collected(store, *tables, shard_bytes=2000)] == [4, 4]
    assert len(collected(store, *(table(2, 2 * n) for n in range(4)), shard_bytes=2000)) == 1


def test_ids_and_places_do_not_decide_where_shards_are_cut(store):
    tables = [table(2, 2 * n, id=[f"{n}-{'i' * 600}", f"{n}+{'i' * 600}"]) for n in range(4)]
    assert len(collected(store, *tables, shard_bytes=2000)) == 1


def test_documents_without_an_id_get_one_from_where_they_stand(store):
    [shard] = collected(store, table(2))
    ids = store.read_table(shard.object).column("id").to_pylist()
    assert len(set(ids)) == 2
    assert ids == store.read_table(collected(store, table(1), table(1, 1))[0].object).column("id").to_pylist()


def test_ids_that_are_there_are_kept_and_others_made(store):
    [shard] = collected(store, table(2, id=pa.array(["mine", None])))
    assert store.read_table(shard.object).column("id").to_pylist()[0] == "mine"


def test_ids_that_are_numbers_become_text(store):
    [shard] = collected(store, table(2, id=[7, 8]))
    assert store.read_table(shard.object).column("id").to_pylist() == ["7", "8"]


def test_a_part_is_cut_into_shards_of_about_the_bytes_that_were_asked_for(store):
    shards = collected(store, *(table(2, start) for start in range(0, 10, 2)), shard_bytes=20)
    assert [shard.documents for shard in shards] == [4, 4, 2]
    assert [shard.bytes for shard in shards] == [24, 24, 12]


def test_a_limit_cuts_the_last_table(store):
    assert [shard.documents for shard in collected(store, table(3), table(3, 3), limit=4)] == [4]


def test_what_cannot_be_read_is_kept_apart_and_counted(store):
    [shard] = collected(store, Rejected(7, "bad", "why"), table(1), Rejected(9, "bad", "why"))
    assert (shard.documents, shard.rejects) == (1, {"bad": 2})
    assert [row["source_uri"] for row in store.read_table(shard.rejected).to_pylist()] == ["p#7", "p#9"]


def test_a_part_without_documents_gives_no_shard(store):
    assert collected(store) == []


def test_a_file_that_cannot_be_read_is_an_error_in_the_users_words(store):
    with pytest.raises(CurateError, match="`p` cannot be read: Permission denied"):
        collected(store, table(1), PermissionError(13, "Permission denied"))


def test_an_input_that_cannot_be_hashed_is_an_error_in_the_users_words(store, tmp_path):
    inputs = Inputs(store)
    with pytest.raises(CurateError, match="cannot be read: No such file"):
        inputs.content_hash(tmp_path / "none")


def test_an_input_that_is_written_to_all_the_time_is_given_up(store, tmp_path, monkeypatch):
    log = tmp_path / "log"
    log.write_text("")
    monkeypatch.setattr(plan, "hash_file", lambda path: path.write_text(path.read_text() + "more\n") and "")
    with pytest.raises(ResumableError, match="changes while it is read"):
        Inputs(store).content_hash(log)


# ---- calls


class Any(Mapper):
    """Stands for a stage with batches of four."""

    batch = 4


def called(function, blame=None, count=10):
    said = []
    found = list(calls(function, Any(), "s", table(count), np.arange(count), blame or Blame(), said.append))
    return found, said


def test_a_stage_is_called_on_batches_and_says_so_before():
    found, said = called(lambda batch: batch.num_rows)
    assert found == [(0, 4), (4, 4), (8, 2)]
    assert said == [("s", 0, 4), ("s", 4, 8), ("s", 8, 10), None]


def test_rows_to_be_careful_with_are_done_one_at_a_time():
    found, _ = called(lambda batch: batch.num_rows, Blame(careful={"s": [(5, 6)]}))
    assert found == [(0, 4), (4, 1), (5, 1), (6, 1), (7, 1), (8, 2)]


def test_poisonous_rows_are_quarantined_without_a_call():
    seen = []
    found, _ = called(
        lambda batch: seen.extend(batch.column("text").to_pylist()), Blame(poison={"s": {5: "time_limit"}})
    )
    assert "text 5" not in seen
    assert dict(found)[5].rows == [
        {"row": 0, "verdict": "quarantined", "reason": "time_limit", "value": None, "detail": None}
    ]


def test_another_stages_blame_is_not_ours():
    assert called(lambda batch: batch.num_rows, Blame({"t": [(0, 9)]}, {"t": {0: "x"}}))[0] == [(0, 4), (4, 4), (8, 2)]


@pytest.mark.parametrize("error", [CurateError("no model"), MemoryError()])
def test_errors_that_are_no_documents_fault_end_the_task(error):
    def fails(batch):
        raise error

    with pytest.raises(type(error)):
        called(fails)


# ---- conservation


def shard(documents, *steps):
    return Shard("part", "source", "o", documents, 0, "", steps=steps)


def row(name, count, dropped=0):
    counts = {"dropped": dropped, "quarantined": 0, "expanded": 0, "made": 0}
    return {"id": name, "in": count, "kept": count - dropped, **counts}


def written(documents):
    return Fragment("o", documents, None, documents, 0, 0, "s")


GOOD = shard(5, Step("a", 5, 0, reasons={"dropped": {"x": 2}}))


def test_numbers_that_add_up_pass():
    Conservation([GOOD], [written(3)], [row("source", 5), row("a", 5, 2)]).check()


@pytest.mark.parametrize(
    ("shards", "count", "rows", "problem"),
    [
        ([shard(4, *GOOD.steps)], 3, [], "stage `a` saw 5 of the 4 documents of a shard of `part`"),
        ([GOOD], 4, [], "3 documents are kept, but 4 were written"),
        ([GOOD], 3, [row("a", 5, 2) | {"kept": 4}], "stage `a` does not add up"),
        ([GOOD], 3, [row("source", 5)], "5 documents were read and 0 made, but 3 kept and 0 removed"),
    ],
)
def test_numbers_that_do_not_add_up_fail(shards, count, rows, problem):
    with pytest.raises(ConservationError, match=problem):
        Conservation(shards, [written(count)], rows).check()


# ---- sections and plugins


def test_stages_are_cut_behind_every_global_one(project):
    from curate.config.pipeline import load_pipeline

    def cut(*stages):
        project.stages(*(f"{stage}, id: s{i}" for i, stage in enumerate(stages)))
        found = sections(load_pipeline(project.file).stages)
        return [([entry.id for entry in fused], final and final.id) for fused, final in found]

    assert cut() == []
    assert cut("Shout", "Long") == [(["s0", "s1"], None)]
    assert cut("Shout", "Copies", "Copies", "Long") == [(["s0"], "s1"), ([], "s2"), (["s3"], None)]


def test_stages_that_need_other_machines_are_cut_apart_and_ask_for_no_more_than_they_need(project):
    from curate.config.pipeline import load_pipeline

    def cut(*stages):
        project.stages(*(f"{stage}, id: s{i}" for i, stage in enumerate(stages)))
        found = sections(load_pipeline(project.file).stages)
        return [([entry.id for entry in fused], final and final.id) for fused, final in found]

    gpu, plain = "resources: {gpus: 1}", "resources: {cpus: 1}"
    assert cut(f"Long, {plain}", f"Copies, {gpu}") == [(["s0"], None), ([], "s1")]
    assert cut("Shout", f"Long, {gpu}", f"Shout, {gpu}", f"Shout, {plain}") == [
        (["s0"], None), (["s1", "s2"], None), (["s3"], None)
    ]  # fmt: skip
    assert cut(f"Shout, {plain}", "Long") == [(["s0", "s1"], None)]  # what is asked for is what there is without asking


def test_a_stage_of_an_installed_package_is_found_by_its_name(project, monkeypatch):
    from importlib.metadata import EntryPoint

    from curate.stages import registry

    entry = EntryPoint("shouting", "toy_stages:Shout", "curate.stages")
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [entry] if group == "curate.stages" else [])
    registry._plugins.cache_clear()
    try:
        assert registry.find_stage("shouting").__name__ == "Shout"
        assert "shouting" in registry.stage_names()
    finally:
        registry._plugins.cache_clear()
