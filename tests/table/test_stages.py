"""What each stage learns and puts, on rows written here; the engine around them is in test_pipeline.py."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from curate.errors import CurateError
from curate.stages.verdicts import check_rows, verdict_schema
from curate.table.duplicates import TableDuplicates
from curate.table.features import TableFeatures
from curate.table.information import binned, mutual_information
from curate.table.missing import TableMissing
from curate.table.outliers import TableOutliers
from curate.table.types import TableTypes


def rows(**columns):
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def put(stage, train, other=None):
    """What a stage that learned from some rows says of others: columns, cells as (column, reason, rows), rows that go."""
    said = stage.put(other or train, stage.fit(train))
    cells = [(one.column, one.reason, one.rows.nonzero()[0].tolist()) for one in said.cells]
    gone = [(one.reason, one.rows.nonzero()[0].tolist()) for one in said.gone if one.rows.any()]
    return {name: column.to_pylist() for name, column in said.columns.items()}, cells, gone


def test_several_cells_of_a_row_may_change_and_nothing_else_may_be_said_of_it_twice():
    def said(*rows):
        return pa.Table.from_pylist(
            [{"row": row, "verdict": "edited", "path": path} for row, path in rows], verdict_schema()
        )

    check_rows(said((0, "a"), (0, "b"), (1, None)), 2, "s")
    for twice in (said((0, "a"), (0, None)), said((0, None), (0, None))):
        with pytest.raises(CurateError, match="stage `s` decides twice about a document"):
            check_rows(twice, 2, "s")


# ---- types


def test_numbers_become_numbers_and_what_is_none_is_told():
    columns, cells, _ = put(
        TableTypes(), rows(a=["1", "2.5", "1,234.5", "n/a", "x", "inf", None, "3", "4", "5", "6", "7", "8"])
    )
    assert columns["a"][:7] == [1, 2.5, 1234.5, None, None, None, None]
    assert cells == [
        ("a", "number_form", [2]),
        ("a", "missing_word", [3]),
        ("a", "no_number", [4]),
        ("a", "not_finite", [5]),
    ]


def test_keys_with_leading_zeros_and_long_ones_stay_text():
    given = {"zip": ["00123", "12345"] * 80, "card": [f"{10**15 + row}" for row in range(160)]}
    columns, cells, _ = put(TableTypes(most_categories=2), rows(**given))
    assert columns == given and not cells


def test_a_column_of_text_holds_strings_whatever_the_files_have():
    stage = TableTypes(types={"a": "text"})
    for column in ([2**53 + 1, 7], [0.5, 7.0]):
        cells = pa.table({"a": stage.cell(pa.chunked_array([column]))})
        assert put(stage, cells)[0]["a"] == [str(one) for one in column]


def test_integers_beyond_what_a_float_holds_are_keys():
    assert TableOutliers().cell(pa.chunked_array([[2**53 + 1, 7]])).to_pylist() == ["9007199254740993", "7"]
    assert TableOutliers().cell(pa.chunked_array([[5, 7]])).to_pylist() == [5.0, 7.0]
    assert TableOutliers().cell(pa.chunked_array([pa.array([2**64 - 1], pa.uint64())])).to_pylist() == [str(2**64 - 1)]


def test_a_number_that_is_not_written_as_it_was_is_told():
    train = rows(a=["1", "2.50", "1067"])
    other = ["01067", "1e5", "12345678901234567", "12345678901234567.0", "0.1", "2.50", " 5", "-0.0", "1e+22"]
    assert put(TableTypes(), train, rows(a=other))[1] == [
        ("a", "number_form", [1, 6]),
        ("a", "leading_zero", [0]),
        ("a", "digits_lost", [2, 3]),
    ]


def test_floats_of_a_file_are_not_read_by_the_mark_of_texts():
    stage = TableTypes(decimal="comma")
    typed, texts = stage.cell(pa.chunked_array([[4.125, 1.5]])), stage.cell(pa.chunked_array([["4.125", "1,5"]]))
    assert put(stage, pa.table({"a": typed}))[0]["a"] == [4.125, 1.5]
    assert put(stage, pa.table({"a": typed}), pa.table({"a": texts}))[0]["a"] == [4125, 1.5]
    assert put(TableTypes(types={"a": "category"}), pa.table({"a": typed}))[0]["a"] == ["4.125", "1.5"]


def test_a_comma_is_what_the_column_in_train_shows():
    train = rows(a=["1,5", "2,25", "1,234"])
    assert put(TableTypes(), train, rows(a=["1,234", "1.234"]))[0]["a"] == [1.234, 1234.0]
    assert put(TableTypes(decimal="point"), train, rows(a=["1,234"]))[0]["a"] == [1234.0]


def test_marks_that_are_mixed_are_each_read_as_they_show():
    assert put(TableTypes(), rows(a=["1.234,5", "1,234.5", "1.5"]))[0]["a"] == [1234.5, 1234.5, 1.5]


def test_units_and_percent():
    stage = TableTypes(units={"w": {"kg": 1, "G": 0.001}})
    assert put(stage, rows(w=["2 kg", "500 g", "1"], p=["10%", "5 %", "0.5"]))[0] == {
        "w": [2, 0.5, 1],
        "p": [0.1, 0.05, 0.5],
    }


def test_dates_get_one_form_and_an_order_that_does_not_show_makes_none():
    shown = put(TableTypes(), rows(d=["31/12/2023", "01/02/2024", "2024-01-01"]))
    assert shown[0]["d"] == ["2023-12-31", "2024-02-01", "2024-01-01"] and shown[1] == [("d", "date_form", [0, 1])]
    unknown = rows(d=["01/02/2024", "03/04/2024"])
    assert put(TableTypes(), unknown)[0]["d"] == ["01/02/2024", "03/04/2024"]
    assert put(TableTypes(day_first=False), unknown)[0]["d"] == ["2024-01-02", "2024-03-04"]


def test_what_looks_like_dates_and_is_none_is_told():
    train = rows(
        short=["01/02/24", "03/04/24"], month=["03/2024", "2024-04"], order=["01/02/2024", "03/04/2024"], c=["a", "b"]
    )
    learned = {one["column"]: one for one in TableTypes().learned(TableTypes().fit(train))}
    assert {name for name, one in learned.items() if "look like dates" in one["how"]} == {"short", "month", "order"}


def test_categories_take_the_form_that_is_most_frequent_in_train():
    stage = TableTypes(values={"c": {"F": "Rome"}})
    train = rows(c=["Paris", "Paris", "paris", " PARIS ", "Rome"])
    columns, cells, _ = put(stage, train, rows(c=["PARIS", "f", "Oslo", "New  York"]))
    assert columns["c"] == ["Paris", "Rome", "Oslo", "New York"] and cells == [("c", "category_form", [0, 1, 3])]
    assert put(TableTypes(merge_case=False), train)[0]["c"][3] == " PARIS "


def test_a_column_without_any_value_in_train_stays_as_it_is():
    stage = TableTypes()
    assert put(stage, rows(a=["", "NA", None]), rows(a=["7", None]))[0]["a"] == ["7", None]


def test_words_for_an_empty_cell_are_known_in_any_case():
    assert put(TableTypes(missing=("Unknown",)), rows(a=["1", "UNKNOWN", "2"]))[0]["a"] == [1, None, 2]


def test_types_can_be_said():
    assert put(TableTypes(types={"a": "category"}), rows(a=["1", "2"]))[0]["a"] == ["1", "2"]
    assert put(TableTypes(types={"a": "number"}), rows(a=["x", "2"]))[0]["a"] == [None, 2]


@given(st.lists(st.one_of(st.none(), st.text(max_size=20)), min_size=1, max_size=12))
def test_any_text_is_read_alike_in_any_cut_and_never_fails(values):
    stage, train = TableTypes(), pa.table({"a": pa.array(values, pa.string())})
    fitted = stage.fit(train)
    whole = stage.put(train, fitted).columns.get("a")
    single = [stage.put(train.slice(row, 1), fitted).columns.get("a") for row in range(len(values))]
    assert whole is None or whole.to_pylist() == [one[0].as_py() for one in single]


# ---- empty cells


def test_empty_cells_are_filled_by_what_train_has_and_flagged():
    train = rows(
        n=[1.0, 3.0, 10.0, None],
        c=["a", "b", "b", None],
        d=["2024-01-01", "2024-01-03", "2024-03-01", None],
        y=["q"] * 4,
    )
    columns, cells, gone = put(
        TableMissing(label="y"), train, rows(n=[None, 9.0], c=[None, "z"], d=[None, "2020-01-01"], y=[None, "q"])
    )
    assert columns == {
        "n_missing": [1, 0], "n": [3, 9], "c_missing": [1, 0], "c": ["b", "z"], "d_missing": [1, 0],
        "d": ["2024-01-03", "2020-01-01"],
    }  # fmt: skip
    assert cells == [(name, "filled", [0]) for name in "ncd"] and gone == [("no_label", [0])]


def test_a_day_that_no_month_has_is_no_date_and_ends_nothing():
    train, other = rows(d=["2024-01-01", "2024-01-03"]), rows(d=["2024-02-30", "0000-01-01"])
    assert put(TableMissing(), train, other)[0]["d"] == ["2024-02-30", "0000-01-01"]
    _, cells, _ = put(TableFeatures(), train, other)
    assert cells == [("d", "empty_as_mean", [0, 1])]
    assert TableMissing().fit(other)["columns"]["d"]["kind"] == "category"
    assert TableFeatures(label="d").fit(rows(d=["2024-02-30", "x"], a=[1.0, 2]))["columns"]["a"]["kept"]


def test_how_a_column_is_filled_can_be_said():
    train = rows(a=[1.0, 2.0, 6.0, None], b=[1.0, 1.0, 2.0, None], c=["x", None, "y", "x"], d=[1.0, None, 1.0, 1.0])
    stage = TableMissing(fill={"a": "mean", "b": "mode", "d": "drop"}, values={"c": "none"}, flag=False)
    columns, _, gone = put(stage, train)
    assert (columns["a"][3], columns["b"][3], columns["c"][1]) == (3, 1, "none") and gone == [("empty_cell", [1])]
    assert "d" not in columns and not any(name.endswith("_missing") for name in columns)


def test_rows_with_an_empty_cell_are_dropped_from_the_train_split_alone():
    given = rows(a=[None, None, 1.0], split=["train", "test", "train"])
    said = TableMissing(fill={"a": "drop"}).put(given, TableMissing(fill={"a": "drop"}).fit(rows(a=[None, 1.0])))
    assert [one.rows.tolist() for one in said.gone] == [[True, False, False]]


@pytest.mark.parametrize(
    "stage",
    [
        TableTypes(types={"aeg": "number"}), TableTypes(units={"aeg": {"y": 1}}), TableTypes(values={"aeg": {"a": "b"}}),
        TableMissing(fill={"aeg": "mean"}), TableMissing(values={"aeg": 0}),
    ],
)  # fmt: skip
def test_columns_that_a_setting_names_and_no_row_has_are_refused(stage):
    with pytest.raises(CurateError, match="the table has no column `aeg`") as error:
        stage.fit(rows(age=["1", "2"]))
    assert error.value.hint == "did you mean `age`?"


def test_text_where_train_has_numbers_is_refused_and_ends_in_no_traceback():
    for stage in (TableMissing(), TableOutliers(), TableFeatures()):
        with pytest.raises(CurateError, match="holds numbers in the train split") as error:
            put(stage, rows(a=[1.0, 2.0, None, 4.0]), rows(a=["x", "1"]))
        assert "table_types" in error.value.hint


def test_a_column_that_is_empty_in_train_is_not_filled_and_a_column_of_text_neither():
    assert put(TableMissing(), pa.table({"a": pa.nulls(3, pa.string())}))[0] == {}
    assert put(TableMissing(most_categories=2), rows(t=["a", "b", "c", None]))[0] == {}


def test_what_cannot_fill_a_column_is_refused():
    with pytest.raises(CurateError, match="`c` is a column of the kind category: it has no median"):
        TableMissing(fill={"c": "median"}).fit(rows(c=["a", None]))
    with pytest.raises(CurateError, match="`values` has `no` for `n`, a column of numbers"):
        TableMissing(values={"n": "no"}).fit(rows(n=[1.0, None]))
    with pytest.raises(CurateError, match="there is a column `n_missing` already"):
        TableMissing().fit(rows(n=[1.0, None], n_missing=[0.0, 0.0]))


# ---- outliers


def test_far_numbers_are_flagged_by_median_and_deviation_of_train():
    train = rows(a=[1.0, 2, 3, 4, 5], b=["x"] * 5, split=["train"] * 5)
    other = rows(a=[3.0, 100, None, -50], b=["x"] * 4, split=["test"] * 4)
    columns, cells, gone = put(TableOutliers(), train.drop_columns(["split"]), other)
    assert columns == {"outliers": [None, "a", None, "a"]} and not cells and not gone
    low, high = 3 - 3.5 / 0.6745, 3 + 3.5 / 0.6745  # the median absolute deviation is 1
    columns, cells, _ = put(TableOutliers(action="clip"), train.drop_columns(["split"]), other)
    assert columns["a"][2] is None and columns["a"][1::2] == pytest.approx([high, low])
    assert cells == [("a", "outlier_clipped", [1, 3])]
    assert put(TableOutliers(action="empty"), train.drop_columns(["split"]), other)[0]["a"] == [3, None, None, None]


def test_rows_are_dropped_from_the_train_split_alone():
    train = rows(a=[1.0, 2, 3, 4, 5, 99])
    said = put(TableOutliers(action="drop"), train, rows(a=[99.0, 99.0], split=["train", "test"]))
    assert said[2] == [("outlier", [0])]


def test_where_most_numbers_are_equal_there_are_no_bounds():
    train = rows(rare=[0.0] * 9 + [1.0], c=[5.0] * 10)
    assert put(TableOutliers(action="clip"), train)[0] == {"outliers": [None] * 10}
    assert {one["low"] for one in TableOutliers().fit(train)["columns"].values()} == {None}


@pytest.mark.parametrize("action", ["clip", "empty"])
def test_infinity_that_outliers_empties_is_told(action):
    columns, cells, _ = put(TableOutliers(action=action), rows(a=[1.0, 2, 3, 4]), rows(a=[float("-inf"), 2.0]))
    assert columns["a"] == [None, 2] and ("a", "not_finite", [0]) in cells


def test_infinity_is_not_told_as_an_empty_cell_where_it_is_filled():
    columns, cells, _ = put(TableMissing(), rows(a=[1.0, 2, 3]), rows(a=[float("inf"), None]))
    assert columns["a"] == [2, 2] and cells == [("a", "filled", [1]), ("a", "not_finite", [0])]


def test_numbers_whose_sum_is_beyond_all_floats_spoil_nothing():
    train = rows(a=[1e308, -1e308, 1e308], b=[1.0, 2, 3])
    columns, _, _ = put(TableFeatures(), train)
    assert [len(one) for one in columns["features"]] == [1, 1, 1] and np.isfinite(columns["features"]).all()
    learned = {one["column"]: one["why"] for one in TableFeatures().learned(TableFeatures().fit(train))}
    assert learned == {"a": "numbers too large to be scaled", "b": ""}
    assert TableOutliers().fit(train)["columns"]["a"]["low"] is None
    assert TableMissing(numbers="mean").fit(train)["columns"]["a"]["value"] == pytest.approx(1e308 / 3)


# ---- duplicates


def reduced(stage, ids=None, **columns):
    table = rows(**columns)
    count = table.num_rows
    given = table.append_column("id", pa.array(ids or [f"d{row}" for row in range(count)]))
    signed = stage.open()(given).append_column("id", given.column("id"))
    said = stage.reduce(signed)
    return {one["row"]: (one["reason"], one["duplicate_of"]) for one in said.verdicts.to_pylist()}, said.artifacts


def test_of_equal_rows_that_of_the_test_split_stays():
    said, _ = reduced(TableDuplicates(), a=[1, 1, 1, 2, 1], split=["train", "test", "train", "train", "test"])
    assert said == {0: ("row_in_other_split", "d1"), 2: ("row_in_other_split", "d1"), 4: ("duplicate_row", "d1")}


def test_whole_numbers_are_equal_whatever_the_type_of_their_column():
    whole, floats = (TableDuplicates().open()(rows(id=["x"], a=[value])).column("key")[0].as_py() for value in (1, 1.0))
    assert whole == floats


def test_an_empty_cell_is_not_the_word_for_it():
    assert reduced(TableDuplicates(), a=["None", None])[0] == {}


@pytest.mark.parametrize(
    ("conflicts", "gone"), [("keep", [1, 4]), ("drop", [0, 1, 2, 4]), ("majority", [1, 2, 4])]
)  # fmt: skip
def test_equal_rows_with_several_labels(conflicts, gone):
    stage = TableDuplicates(label="y", conflicts=conflicts)
    said, artifacts = reduced(stage, a=[1, 1, 1, 2, 2], y=["p", "p", "n", "p", "p"], split=["train"] * 5)
    assert sorted(said) == gone
    assert artifacts["conflicts"].to_pylist() == [{"rows": 3, "labels": "n (1), p (2)", "id": "d0"}]


def test_a_column_that_a_file_has_not_is_one_without_values():
    def key(**cells):
        return TableDuplicates().open()(rows(id=["x"], **cells)).column("key")[0].as_py()

    assert key(a=[1], b=["q"]) != key(a=[1], c=["q"])
    assert key(a=[1]) == key(a=[1], b=pa.nulls(1, pa.string())) == key(a=[1], b=pa.nulls(1, pa.int64()))


def test_labels_of_another_split_decide_nothing():
    stage = TableDuplicates(label="y", conflicts="majority")
    said, _ = reduced(stage, a=[1] * 4, y=["p", "n", "n", "n"], split=["train", "test", "validation", "test"])
    assert said == {2: ("row_in_other_split", "d1"), 3: ("duplicate_row", "d1")}


def test_as_many_labels_on_both_sides_leave_none():
    assert sorted(reduced(TableDuplicates(label="y", conflicts="majority"), a=[1, 1], y=["p", "n"])[0]) == [0, 1]


# ---- features


def test_numbers_are_scaled_and_categories_have_a_place_each():
    train = rows(n=[1.0, 3.0], c=["a", "b"], d=["1970-01-01", "1970-01-03"], k=[5.0, 5.0], e=pa.nulls(2, pa.string()))
    columns, cells, _ = put(TableFeatures(), train, rows(n=[2.0, None], c=["b", "z"], d=["1970-01-02", "1970-01-05"]))
    assert columns["features"] == [[0, 0, 1, 0, 0], [0, 0, 0, 1, 3]]
    assert cells == [("n", "empty_as_mean", [1]), ("c", "unseen_category", [1])]
    learned = {one["column"]: one for one in TableFeatures().learned(TableFeatures().fit(train))}
    assert learned["c"]["names"] == ["c=a", "c=b", "c=(other)"] and learned["c"]["first"] == 1
    assert (learned["k"]["why"], learned["e"]["why"]) == ("one value", "no value")


@pytest.mark.parametrize(
    ("scale", "wanted"),
    [
        ("robust", [-1, 0, 1]),
        ("range", [0, 0.5, 1]),
        ("none", [1, 3, 5]),
        ("standard", [-1.2247449, 0, 1.2247449]),
    ],
)
def test_numbers_are_scaled_as_asked(scale, wanted):
    columns, *_ = put(TableFeatures(scale=scale), rows(n=[1.0, 3.0, 5.0]))
    assert [one for (one,) in columns["features"]] == pytest.approx(wanted)


def test_rare_categories_are_others():
    columns, *_ = put(TableFeatures(least_rows=2), rows(c=["a", "a", "b"]))
    assert columns["features"] == [[1, 0], [1, 0], [0, 1]]


def test_columns_that_tell_most_of_the_label_are_selected():
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 400)
    train = rows(good=label + random.normal(0, 0.1, 400), noise=random.normal(size=400), y=[str(one) for one in label])
    fitted = TableFeatures(label="y", select=1).fit(train)["columns"]
    assert fitted["good"]["kept"] and fitted["noise"]["why"] == "others tell more of the label"
    least = TableFeatures(label="y", least_information=0.2).fit(train)["columns"]
    assert least["good"]["kept"] and least["noise"]["why"] == "tells too little of the label"


def test_a_label_of_one_class_tells_nothing_and_hides_nothing():
    fitted = TableFeatures(label="y").fit(rows(n=[1.0, 2.0], y=["a", "a"]))["columns"]
    assert fitted["n"]["information"] == 0 and fitted["n"]["kept"]


def test_a_table_of_nothing_is_refused():
    with pytest.raises(CurateError, match="no column of the table is left to learn from"):
        TableFeatures().fit(rows(k=[1.0, 1.0]))
    with pytest.raises(CurateError, match="columns are selected by what they tell of the label"):
        TableFeatures(select=1).fit(rows(n=[1.0, 2.0]))


def test_mutual_information_is_scikit_learns_but_for_what_chance_gives():
    random = np.random.default_rng(1)
    left, right = random.integers(0, 4, 500), random.integers(0, 3, 500)
    assert mutual_information(left, right, corrected=False) == pytest.approx(mutual_info_score(left, right), abs=1e-12)
    assert mutual_information(left, right) < 0.01 < mutual_information(left, left)


def test_what_chance_gives_is_scikit_learns_also_where_values_are_few_rows_each():
    generator = np.random.default_rng(2)
    left, right = generator.integers(0, 64, 144), generator.integers(0, 2, 144)
    known, told = contingency_matrix(left, right), mutual_information(left, right, corrected=False)
    expected = max(told - expected_mutual_information(known, 144), 0)
    assert mutual_information(left, right) == pytest.approx(expected, abs=1e-9)
    assert mutual_information(left, right) < 0.05 < told
    assert np.bincount(binned(np.arange(100.0))).tolist() == pytest.approx([10] * 10, abs=1)


def test_cells_are_counted_in_slices_as_they_are_in_one_go(monkeypatch):
    stage, at_once = TableMissing(), list[int]()
    values = [None if number % 3 == 0 else 1.0 for number in range(100)]
    table = pa.table({
        "=x": values, "split": ["train", "test"] * 50, "id": [f"i{n}" for n in range(100)], "place": ["p"] * 100,
    })  # fmt: skip
    fitted = stage.fit(rows(x=values))
    whole, put_rows = stage._counts(table, fitted), TableMissing.put
    monkeypatch.setattr("curate.table.contract.SLICE", 7)
    monkeypatch.setattr(TableMissing, "put", lambda *given: at_once.append(given[1].num_rows) or put_rows(*given))
    assert stage._counts(table, fitted) == whole
    assert max(at_once) == 7
    assert whole[0] == [{"column": "x", "reason": "filled", "counts": {"train": 17, "test": 17}}]
    assert [one["id"] for one in whole[1]] == [f"i{3 * n}" for n in range(20)]
