"""The rows of a task: read from whatever they are in, each with an id of its own, and refused where they are wrong."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard
from typer.testing import CliRunner

from curate.cli import app
from curate.dataset.reader import Dataset
from curate.errors import ConfigurationErrors, CurateError
from curate.evaluation.request import asked_tasks
from curate.evaluation.tasks.data import read_rows
from curate.evaluation.tasks.settings import ChoiceTask, PerplexityTask, load_tasks

ROWS = [{"text": "one, two", "label": "1"}, {"text": 'say "three"', "label": "0"}]
LINES = "\n".join(map(json.dumps, ROWS)).encode()


def read(*files, **settings):
    return read_rows(PerplexityTask(name="t", files=tuple(map(str, files)), **settings), None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", LINES),
        ("a.csv", b'text,label\n"one, two",1\n"say ""three""",0\n'),
        ("a.csv", b'\xef\xbb\xbftext,label\r\n"one, two",1\r\n"say ""three""",0\r\n'),
        ("a.tsv", b'text\tlabel\none, two\t1\nsay "three"\t0\n'),
        ("a.jsonl.gz", gzip.compress(LINES)),
        ("a.jsonl.zst", zstandard.compress(LINES)),
        ("a.jsonl.xz", lzma.compress(LINES)),
        ("a.json.bz2", bz2.compress(LINES)),
    ],
)
def test_rows_are_the_same_in_every_form_of_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    rows = read(tmp_path / name).rows
    assert [{key: row[key] for key in ("text", "label")} for row in rows] == ROWS
    assert [row["id"] for row in rows] == [f"{name}:1", f"{name}:2"]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.dev", "a.txt.test"])
def test_lines_of_text_are_rows(tmp_path, name):
    (tmp_path / name).write_text("one\n\ntwo\n")
    assert [row["text"] for row in read(tmp_path / name).rows] == ["one", "two"]


def test_parquet_is_read(tmp_path):
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert [row["text"] for row in read(tmp_path / "a.parquet").rows] == ["one, two", 'say "three"']


def test_columns_of_a_file_without_a_header_are_named_in_the_task(shared_data):
    rows = read(shared_data / "sst2" / "dev.tsv", columns=("sentence", "label"))
    assert len(rows.rows) == rows.total == 872
    assert rows.rows[0] == {"id": "dev.tsv:1", "sentence": "one long string of cliches", "label": "0"}


def test_a_field_may_be_larger_than_the_csv_module_takes(tmp_path):
    (tmp_path / "a.csv").write_text(f"text\n{'a' * 200_000}\n")
    assert len(read(tmp_path / "a.csv").rows[0]["text"]) == 200_000


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text"', "line 2 is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n["a"]', "line 2 is not a JSON object"),
        ("a.json", b"[1]", "entry 1 of the list is not a JSON object"),
        ("a.json", b'[{"text": "a"}', "the file is not JSON"),
        ("a.csv", b"text,label\na,1\nb\n", "line 3 has 1 fields, not 2: text, label"),
        ("a.csv", b'text\n"a"b\n', "line 2 cannot be read"),
        ("a.csv", b"text\nna\xefve\n", "line 2 is not UTF-8"),
        ("a.jsonl.gz", gzip.compress(LINES)[:-12], "the file is damaged: truncated: gz"),
        ("a.jsonl.zst", b"no zstd", "the file is damaged: corrupt: zst"),
        ("a.parquet", b"no parquet", "the file cannot be read"),
        ("a.pdf", b"text", "files like `a.pdf` are not read here"),
        ("a.jsonl", b"", "there are no rows in the files"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CurateError) as error:
        read(tmp_path / name)
    assert problem in error.value.problem


def test_a_file_that_is_not_there_is_told_with_one_that_is(tmp_path):
    (tmp_path / "dev.tsv").write_text("a\n")
    with pytest.raises(CurateError, match="there is no file") as error:
        read(tmp_path / "dew.tsv")
    assert error.value.hint == "did you mean `dev.tsv`?"


def test_rows_that_share_an_id_are_named_apart_and_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 7, "text": "a"}\n{"id": 7, "text": "b"}\n{"id": "8", "text": "c"}\n')
    rows = read(tmp_path / "a.jsonl")
    assert [row["id"] for row in rows.rows] == ["7", "7#2", "8"]
    assert rows.repeated == 1


def test_a_missing_column_of_a_task_is_named_with_a_near_one(tmp_path):
    from curate.evaluation.tasks.data import column

    (tmp_path / "a.jsonl").write_text('{"texts": "a"}')
    with pytest.raises(CurateError, match=r"the row a.jsonl:1 has no `text`") as error:
        column(read(tmp_path / "a.jsonl"), "text", "t", "text")
    assert error.value.hint == "did you mean `texts`?"


def test_columns_of_a_version_are_refused_in_a_file_of_tasks(tmp_path):
    (tmp_path / "tasks.yaml").write_text("tasks: [{name: t, kind: perplexity, data: rows, columns: [text]}]")
    with pytest.raises(CurateError, match="`columns` is of csv and tsv files"):
        load_tasks(tmp_path / "tasks.yaml")


def test_a_limit_takes_documents_from_all_of_a_version(project, monkeypatch):
    monkeypatch.setattr(Dataset, "arrow", None)  # the whole version is never held
    store = str(project / ".curate")
    whole = read_rows(PerplexityTask(name="t", data="rows", split="train"), store)
    some = read_rows(PerplexityTask(name="t", data="rows", split="train", limit=4), store)
    assert some.total == len(whole.rows) == 40
    assert some.rows == [whole.rows[number] for number in np.arange(4) * 10]


def test_only_what_a_task_needs_of_a_version_is_read(project):
    task = PerplexityTask(name="t", data="rows", by=("label",))
    assert set(read_rows(task, str(project / ".curate")).rows[0]) == {"id", "text", "label"}
    asked = ChoiceTask(name="t", data="rows", prompt="{{ text }}", choices=("a", "b"), answer="label")
    assert {"words", "messages"} <= set(read_rows(asked, str(project / ".curate")).rows[0])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"data": "rows", "split": "dev"}, "`rows` has no split `dev`"),
        ({"data": "rows", "text": "texts"}, "`rows` has no column `texts`"),
        ({"data": "row"}, "there is no dataset named `row`"),
    ],
)
def test_a_split_or_column_or_version_that_is_not_there_is_named(project, settings, problem):
    with pytest.raises(CurateError) as error:
        read_rows(PerplexityTask(name="t", **settings), str(project / ".curate"))
    assert problem in error.value.problem


@pytest.mark.parametrize(
    ("tasks", "problems"),
    [
        ("foo", ["`tasks`: input should be a valid list, got 'foo'"]),
        ("[]", ["`tasks`: list should have at least 1 item, got []"]),
        ("[{name: a, kind: perplexity, files: [x], foo: 1}]", ["has no setting `tasks.0.foo`"]),
        ("[{name: a/b, kind: perplexity, files: [x]}]", ["a name has letters, digits, spaces and . _ -"]),
    ],
)
def test_what_is_wrong_with_a_file_of_tasks_is_told_once_in_words(tmp_path, tasks, problems):
    (tmp_path / "tasks.yaml").write_text(f"tasks: {tasks}")
    with pytest.raises(ConfigurationErrors) as error:
        load_tasks(tmp_path / "tasks.yaml")
    assert len(error.value.errors) == len(problems)
    assert all(words in one.problem for words, one in zip(problems, error.value.errors, strict=True))


def test_names_of_tasks_and_files_have_spaces(tmp_path, trained):
    (tmp_path / "tasks.yaml").write_text("tasks: [{name: my text, kind: perplexity, files: [x]}]")
    assert load_tasks(tmp_path / "tasks.yaml")[0].name == "my text"
    (tmp_path / "held out (1).jsonl").write_text('{"text": "a"}')
    asked = asked_tasks(str(trained("text")), [], [str(tmp_path / "held out (1).jsonl")], None, (), None)
    assert [task.name for task in asked] == ["held out -1"]


def test_the_schema_of_tasks_has_all_kinds_and_their_settings():
    made = json.loads(CliRunner().invoke(app, ["schema", "--tasks"]).stdout)
    entry = made["properties"]["tasks"]["items"]["discriminator"]["mapping"]
    assert {"perplexity", "choice", "generation", "labels", "bbq", "harness"} <= entry.keys()
    assert "pattern" in made["$defs"]["GenerationTask"]["properties"]
