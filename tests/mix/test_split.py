import json
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from curate.cli import app
from curate.errors import CurateError
from curate.mix.sample import Sample
from curate.mix.split import Split

TEXTS = ["text"] * 4000


def splits(apply_stage, stage, texts=TEXTS, **columns):
    return apply_stage(stage, texts, **columns)[1]["split"]


def test_the_shares_are_met_on_average(apply_stage):
    counts = Counter(splits(apply_stage, Split(train=0.5, validation=0.3, test=0.2)))
    assert all(
        abs(counts[name] - share) < 100 for name, share in [("train", 2000), ("validation", 1200), ("test", 800)]
    )


def test_no_document_is_edited_or_dropped(apply_stage):
    assert apply_stage(Split(), TEXTS)[0] == {}


def test_documents_of_one_cluster_go_into_one_split(apply_stage):
    clusters = [f"c{row // 4}" for row in range(4000)]
    chosen = splits(apply_stage, Split(train=0.4, validation=0.3, test=0.3), duplicate_cluster=pa.array(clusters))
    assert len(set(zip(clusters, chosen, strict=True))) == 1000


def test_a_cluster_of_one_is_split_as_without_clusters(apply_stage):
    stage = Split(train=0.4, validation=0.3, test=0.3)
    alone = pa.array([f"d{row}" for row in range(4000)])
    assert splits(apply_stage, stage, duplicate_cluster=alone) == splits(apply_stage, stage)


def test_equal_values_of_a_column_go_into_one_split_in_place_of_clusters(apply_stage):
    hosts = [row % 500 for row in range(4000)]
    clusters = [f"c{row // 4}" for row in range(4000)]
    chosen = splits(
        apply_stage,
        Split(train=0.4, validation=0.3, test=0.3, by="host"),
        host=pa.array(hosts),
        duplicate_cluster=pa.array(clusters),
    )
    assert len(set(zip(hosts, chosen, strict=True))) == 500


def test_documents_without_a_value_stand_alone(apply_stage):
    stage = Split(train=0.5, validation=0.5, test=0, by="host")
    assert splits(apply_stage, stage, host=pa.nulls(4000, pa.string())) == splits(
        apply_stage, Split(train=0.5, validation=0.5, test=0)
    )


def test_a_missing_column_is_named_with_those_there_are(documents):
    with pytest.raises(CurateError, match=r"no column `host` to split by\n.*hint: .*id, text, source_uri"):
        Split(by="host").open()(documents(["x"]))


def test_a_column_of_lists_cannot_be_split_by(documents):
    with pytest.raises(CurateError, match=r"column `tags` holds list.*cannot be split by"):
        Split(by="tags").open()(documents(["x"], tags=[["a"]]))


def test_a_sample_before_the_split_leaves_its_shares_alone(apply_stage):
    dropped, _ = apply_stage(Sample(fraction=0.5, seed=1), TEXTS)
    chosen = splits(apply_stage, Split(train=0.5, validation=0.25, test=0.25, seed=1))
    counts = Counter(name for row, name in enumerate(chosen) if row not in dropped)
    assert abs(counts["train"] - 1000) < 100


def test_another_seed_gives_other_splits(apply_stage):
    one, other = (splits(apply_stage, Split(train=0.5, validation=0.5, test=0, seed=seed)) for seed in (1, 2))
    assert one != other


@pytest.mark.parametrize(("share", "names"), [("train", {"train"}), ("test", {"test"})])
def test_a_split_without_a_share_gets_nothing(apply_stage, share, names):
    shares = {"train": 0, "validation": 0, "test": 0, share: 1}
    assert set(splits(apply_stage, Split(**shares))) == names


def test_shares_that_do_not_add_up_are_refused_with_their_sum():
    with pytest.raises(ValidationError, match=r"train 0.9 \+ validation 0.1 \+ test 0.01 = 1.01; the shares must"):
        Split(train=0.9, validation=0.1)


def test_shares_that_add_up_but_for_rounding_are_taken():
    Split(train=0.7, validation=0.1, test=0.2)


@settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cut=st.integers(0, 20), seed=st.integers(0, 2**64 - 1))
def test_splits_do_not_depend_on_the_batches(documents, cut, seed):
    table, stage = documents(["x"] * 20), Split(train=1 / 3, validation=1 / 3, test=1 - 2 / 3, seed=seed)
    split = stage.open()
    parts = [split(table.slice(0, cut)), split(table.slice(cut))]
    apart = [name for part in parts for name in part.columns["split"].to_pylist()]
    assert apart == split(table).columns["split"].to_pylist()


def test_a_column_that_says_the_split_is_followed(apply_stage):
    given = ["train", "dev", None, "test", "validation"]
    chosen = splits(apply_stage, Split(column="part"), ["text"] * 5, part=pa.array(given))
    assert chosen == ["train", "validation", "train", "test", "validation"]


def test_a_column_that_says_no_split_is_refused(apply_stage):
    with pytest.raises(CurateError, match="column `part` says `holdout`, which is no split"):
        splits(apply_stage, Split(column="part"), ["text"], part=pa.array(["holdout"]))


def test_a_column_for_the_split_that_is_not_there_is_refused(apply_stage):
    with pytest.raises(CurateError, match="there is no column `part` that says the split"):
        splits(apply_stage, Split(column="part"), ["text"])


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("by: topic", "fell on none of 2 values of `topic`, of which each goes into one split as a whole"),
        ("seed: 1", "fell on none of 12 documents; ask for a larger share"),
    ],
)
def test_a_split_that_was_asked_for_and_got_no_document_is_told_and_shown_with_none(tmp_path, stage, told):
    rows = [{"id": f"{n}", "text": f"text {n}", "topic": n % 2} for n in range(12)]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = tmp_path / "p.yaml"
    path.write_text(
        "dataset: d\nsources: [{stage: files, paths: [in.jsonl]}]\n"
        f"stages: [{{stage: split, train: 0.999, validation: 0.001, test: 0, {stage}}}]\n"
    )
    assert f"`split`: no document is in the split `validation`: `validation: 0.001` {told}" in (
        CliRunner().invoke(app, ["run", str(path), "--workers", "1"]).stderr
    )
    shown = CliRunner().invoke(app, ["data", "show", "d", "--store", str(tmp_path / ".curate"), "--json"])
    facts = json.loads(shown.stdout)
    assert {split: one["documents"] for split, one in facts["splits"].items()} == {"train": 12, "validation": 0}
    assert told in facts["notes"][0]
