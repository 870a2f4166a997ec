"""Which files a source reads, in which order, under which names."""

import hashlib
import os

import fsspec
import pytest
from pydantic import ValidationError

from curate.collect.files import Files
from curate.errors import ConfigurationErrors, CurateError
from curate.stages.contract import SourceContext

LINE = b'{"text": "a"}\n'


def plan(root, *paths, shard_bytes=1 << 20, **settings):
    context = SourceContext(root, shard_bytes, lambda path: hashlib.sha256(path.read_bytes()).hexdigest())
    return Files(paths=list(paths), **settings).plan(context)


def write(root, *names, content=LINE):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def test_files_come_in_the_order_of_their_names_whatever_the_patterns(tmp_path):
    write(tmp_path, "in/b.jsonl", "in/deep/a.jsonl", "in/a.jsonl", "c.jsonl")
    parts = plan(tmp_path, "in/**/*.jsonl", "c.jsonl")
    assert [part.name for part in parts] == ["c.jsonl", "in/a.jsonl", "in/b.jsonl", "in/deep/a.jsonl"]


def test_a_file_that_two_patterns_match_is_read_once(tmp_path):
    write(tmp_path, "in/a.jsonl")
    assert len(plan(tmp_path, "in/*.jsonl", "in/a.jsonl", "in/../in/a.jsonl", str(tmp_path / "in" / "a.jsonl"))) == 1


def test_names_are_relative_to_the_pipeline_file(tmp_path):
    write(tmp_path, "data/a.jsonl")
    (tmp_path / "project").mkdir()
    (part,) = plan(tmp_path / "project", "../data/*.jsonl")
    assert part.name == "../data/a.jsonl"
    assert part.location == str(tmp_path / "data" / "a.jsonl")


def test_hidden_files_are_not_matched(tmp_path):
    write(tmp_path, "a.jsonl", ".curate/objects/b.jsonl", ".c.jsonl")
    assert [part.name for part in plan(tmp_path, "**/*.jsonl")] == ["a.jsonl"]


def test_a_name_with_glob_characters_is_found_as_it_is(tmp_path):
    write(tmp_path, "a[1].jsonl")
    assert [part.name for part in plan(tmp_path, "a[1].jsonl")] == ["a[1].jsonl"]


def test_a_project_folder_may_have_glob_characters_in_its_name(tmp_path):
    write(tmp_path / "[old]", "in/a.jsonl")
    assert [part.name for part in plan(tmp_path / "[old]", "in/*.jsonl")] == ["in/a.jsonl"]


def test_content_is_the_hash_of_the_bytes(tmp_path):
    write(tmp_path, "a.jsonl")
    assert plan(tmp_path, "a.jsonl")[0].content == hashlib.sha256(LINE).hexdigest()


def test_a_large_file_is_cut_into_equal_ranges(tmp_path):
    write(tmp_path, "a.jsonl", content=LINE * 100)
    parts = plan(tmp_path, "a.jsonl", shard_bytes=500)
    assert [(part.start, part.stop) for part in parts] == [(0, 466), (466, 933), (933, None)]


def test_a_compressed_file_is_one_part(tmp_path):
    write(tmp_path, "a.jsonl.zst", content=LINE * 100)
    assert len(plan(tmp_path, "a.jsonl.zst", shard_bytes=100)) == 1


def test_a_path_that_matches_nothing_is_an_error_that_says_what_is_there(tmp_path):
    write(tmp_path, "in/docs.jsonl", "in/other.csv")
    with pytest.raises(CurateError, match=r"nothing matches `in/dosc\.jsonl`") as error:
        plan(tmp_path, "in/dosc.jsonl")
    assert "holds `docs.jsonl`, `other.csv`; did you mean `docs.jsonl`?" in str(error.value)


def test_a_glob_in_a_folder_that_does_not_exist_names_the_nearest_one(tmp_path):
    write(tmp_path, "input/a.jsonl")
    with pytest.raises(CurateError, match="nothing matches") as error:
        plan(tmp_path, "inptu/**/*.jsonl.zst")
    assert "holds `input`; did you mean `input`?" in str(error.value)


def test_all_paths_that_match_nothing_are_told_at_once(tmp_path):
    write(tmp_path, "a.jsonl")
    with pytest.raises(ConfigurationErrors) as error:
        plan(tmp_path, "b.jsonl", "a.jsonl", "c/*.csv")
    assert [one.problem for one in error.value.errors] == ["nothing matches `b.jsonl`", "nothing matches `c/*.csv`"]


def test_paths_may_be_one_string(tmp_path):
    write(tmp_path, "a.jsonl")
    source = Files.model_validate({"paths": "*.jsonl"})
    assert source == Files(paths=["*.jsonl"])
    assert [part.name for part in source.plan(SourceContext(tmp_path, 1 << 20, str))] == ["a.jsonl"]


@pytest.mark.parametrize("paths", [[], None, 3, [1]])
def test_paths_are_a_string_or_a_list_of_them_with_something_in_it(paths):
    with pytest.raises(ValidationError, match="paths"):
        Files.model_validate({"paths": paths})


def test_the_schema_says_that_paths_are_a_string_or_a_list():
    told = Files.model_json_schema()["properties"]["paths"]["anyOf"]
    assert told == [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]


def test_a_folder_is_an_error_that_shows_the_glob(tmp_path):
    write(tmp_path, "in/a.jsonl")
    with pytest.raises(CurateError, match="`in` is a folder") as error:
        plan(tmp_path, "in")
    assert "`in/**/*`" in (error.value.hint or "")


def test_an_ending_that_tells_no_format_is_an_error(tmp_path):
    write(tmp_path, "a.data")
    with pytest.raises(CurateError, match=r"the ending of `a\.data` does not tell its format"):
        plan(tmp_path, "a.data")


def test_the_format_may_be_told(tmp_path):
    write(tmp_path, "a.data.gz")
    (part,) = plan(tmp_path, "a.data.gz", format="jsonl")
    assert part.extra == {"format": "jsonl", "compression": "gz"}


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/corpus", recursive=True)


def test_urls_are_read_through_fsspec(tmp_path, memory, read_source_at):
    memory.pipe("/corpus/a.jsonl", LINE)
    memory.pipe("/corpus/deep/b.jsonl", LINE * 2)
    documents, _ = read_source_at(Files(paths=["memory://corpus/**/*.jsonl"]), tmp_path)
    assert [document["source_uri"] for document in documents] == [
        "memory:///corpus/a.jsonl#0",
        "memory:///corpus/deep/b.jsonl#0",
        "memory:///corpus/deep/b.jsonl#14",
    ]


def test_the_content_of_a_url_is_the_hash_of_its_bytes(tmp_path, memory):
    memory.pipe("/corpus/a.jsonl", LINE)
    assert plan(tmp_path, "memory://corpus/a.jsonl")[0].content == hashlib.sha256(LINE).hexdigest()


def test_a_url_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CurateError, match=r"nothing matches `memory://nowhere/a\.jsonl`"):
        plan(tmp_path, "memory://nowhere/a.jsonl")


def test_a_file_url_is_a_local_path(tmp_path):
    write(tmp_path, "a.jsonl")
    (part,) = plan(tmp_path, f"file://{tmp_path}/a.jsonl")
    assert part.name == "a.jsonl"


def test_an_unknown_scheme_is_an_error(tmp_path):
    with pytest.raises(CurateError, match=r"`nothing://x/a\.jsonl` cannot be read"):
        plan(tmp_path, "nothing://x/a.jsonl")


def test_a_password_in_a_url_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(CurateError) as error:
        plan(tmp_path, "https://someone:hunter2@example.org/a.jsonl")
    assert "hunter2" not in str(error.value)


def test_a_name_that_is_not_unicode_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"a\xff.jsonl")).write_bytes(LINE)
    with pytest.raises(CurateError, match="not Unicode"):
        plan(tmp_path, "*.jsonl")


def test_a_file_is_read_once_whatever_links_lead_to_it(tmp_path):
    from curate.collect.locations import find_locations

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.txt").write_text("text")
    (tmp_path / "in" / "a.txt").symlink_to("b.txt")
    (tmp_path / "in" / "loop").symlink_to(".")
    (tmp_path / "far.txt").write_text("far")
    (tmp_path / "in" / "d.txt").symlink_to("../far.txt")
    (tmp_path / "in" / "c.txt").symlink_to("../far.txt")
    found = find_locations(["in/**/*.txt", "in/a.txt"], tmp_path)
    assert [one.name for one in found] == ["in/b.txt", "in/c.txt"]
