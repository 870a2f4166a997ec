"""datatrove's blocks as stages, and stages as datatrove blocks."""

from __future__ import annotations

import json
import pickle

import pyarrow as pa
import pytest

from curate.errors import CurateError
from curate.filter.gopher import GopherQuality
from curate.stages.contract import Audit
from curate.stages.datatrove.stage import DatatroveBlock, as_datatrove, block_stage

FILTERS = "datatrove.pipeline.filters"
FORMATTERS = "datatrove.pipeline.formatters"
PROSE = "The farmer walked to the market with a basket of apples and sold them to the people of the town. "


def refusal(use, **parameters) -> CurateError:
    with pytest.raises(CurateError) as caught:
        block_stage(use, parameters)
    return caught.value


# ---- in: checks


def test_the_stage_is_its_path_and_its_parameters():
    stage = block_stage(f"{FILTERS}.GopherRepetitionFilter", {"dup_line_frac": 0.2})
    assert json.loads(json.dumps(stage.model_dump())) == {
        "on": ["text"],
        "use": f"{FILTERS}.GopherRepetitionFilter",
        "parameters": {"dup_line_frac": 0.2},
    }


def test_the_stage_survives_a_pickle():
    stage = block_stage(f"{FILTERS}.RegexFilter", {"regex_exp": "spam"})
    assert pickle.loads(pickle.dumps(stage)) == stage


def test_an_unknown_parameter_is_told_with_the_nearest_one():
    error = refusal(f"{FILTERS}.GopherRepetitionFilter", dup_line_fraction=0.2)
    assert "has no parameter `dup_line_fraction`" in error.problem
    assert "did you mean `dup_line_frac`" in str(error.hint)


@pytest.mark.parametrize(
    ("use", "problem"),
    [
        ("GopherQualityFilter", "is not an import path"),
        ("datatrove.pipeline.filtres.GopherQualityFilter", "there is no module `datatrove.pipeline.filtres`"),
        ("nosuchpackage.blocks.Block", "there is no module `nosuchpackage`"),
        ("json.JSONDecoder", "is not a datatrove block"),
        ("json.dumps", "is not a datatrove block"),
        (f"{FILTERS}.base_filter.BaseFilter", "is an abstract class"),
        ("datatrove.pipeline.readers.JsonlReader", "cannot be a stage: it reads files"),
        ("datatrove.pipeline.writers.JsonlWriter", "cannot be a stage: it writes files"),
        ("datatrove.pipeline.dedup.MinhashDedupSignature", "cannot be a stage: it needs every document"),
        ("datatrove.pipeline.tokens.DocumentTokenizer", "cannot be a stage: it writes files"),
        ("datatrove.pipeline.stats.DocStats", "cannot be a stage: it writes files"),
        ("datatrove.executor.LocalPipelineExecutor", "cannot be a stage: it runs whole pipelines"),
        (f"{FILTERS}.SamplerFilter", "depends on the order of the documents"),
    ],
)
def test_what_cannot_be_a_stage_is_refused_with_the_reason(use, problem):
    error = refusal(use)
    assert problem in error.problem
    assert error.hint


def test_a_misspelt_block_is_told_with_the_nearest_one():
    assert "did you mean `GopherQualityFilter`" in str(refusal(f"{FILTERS}.GopherQualtyFilter")).split("hint:")[1]


def test_a_missing_package_is_told_with_its_pip_line(monkeypatch):
    from datatrove.pipeline.formatters import FTFYFormatter

    monkeypatch.setattr(FTFYFormatter, "_requires_dependencies", ["nosuchpackage"])
    error = refusal(f"{FORMATTERS}.FTFYFormatter")
    assert "needs a package that is not installed" in error.problem
    assert error.hint == "pip install nosuchpackage"


def test_a_missing_required_parameter_is_named():
    assert "needs the parameter `regex_exp`" in refusal(f"{FILTERS}.RegexFilter").problem


def test_a_parameter_of_a_wrong_type_is_refused():
    error = refusal(f"{FILTERS}.GopherQualityFilter", min_doc_words="fifty")
    assert "`min_doc_words`" in error.problem
    assert "int" in str(error.hint)


def test_a_value_that_the_block_refuses_is_an_error_of_the_user():
    assert "refuses its parameters" in refusal(f"{FILTERS}.RegexFilter", regex_exp="(").problem


def test_a_parameter_that_is_a_function_is_refused():
    assert "filter_function" in refusal(f"{FILTERS}.LambdaFilter", filter_function="len").problem


def test_dropped_documents_go_to_the_ledger_and_to_no_writer():
    assert "exclusion_writer" in refusal(f"{FILTERS}.RegexFilter", regex_exp="a", exclusion_writer="x").problem


# ---- in: running


def test_a_filter_drops_with_datatroves_reason(apply_stage):
    rows, _ = apply_stage(block_stage(f"{FILTERS}.GopherQualityFilter", {}), ["too short", PROSE * 5])
    assert {row: (v["verdict"], v["reason"]) for row, v in rows.items()} == {0: ("dropped", "gopher_short_doc")}


def test_a_filter_without_reasons_drops_in_its_own_name(apply_stage):
    rows, _ = apply_stage(block_stage(f"{FILTERS}.RegexFilter", {"regex_exp": "spam"}), ["spam", "ham"])
    assert {row: verdict["reason"] for row, verdict in rows.items()} == {0: "RegexFilter"}


def test_a_filter_that_edits_gives_the_text_and_what_it_counted(apply_stage):
    use = f"{FILTERS}.C4QualityFilter"
    rows, _ = apply_stage(block_stage(use, {"min_num_sentences": 1}), ["No sentence\n" + PROSE.strip()])
    assert (rows[0]["verdict"], rows[0]["text"]) == ("edited", PROSE.strip())
    assert rows[0]["detail"] == "line-filter-no_terminal_punc=1, line-kept=1, line-total=2"


@pytest.mark.parametrize(
    ("name", "parameters", "text", "edited"),
    [
        ("FTFYFormatter", {}, "caf\u00c3\u00a9", "caf\u00e9"),
        ("SymbolLinesFormatter", {"symbols_to_remove": ["*"]}, "a\n***\nb", "a\nb"),
        ("PIIFormatter", {"email_replacement": ["<EMAIL>"]}, "to a.b@c.org now", "to <EMAIL> now"),
    ],
)
def test_formatters_edit_texts(apply_stage, name, parameters, text, edited):
    rows, _ = apply_stage(block_stage(f"{FORMATTERS}.{name}", parameters), ["plain", text])
    assert {row: (v["verdict"], v["reason"], v["text"]) for row, v in rows.items()} == {1: ("edited", name, edited)}


def test_replacements_taken_in_turn_begin_anew_with_every_document(apply_stage):
    rows, _ = apply_stage(block_stage(f"{FORMATTERS}.PIIFormatter", {}), ["a@b.org", "a@b.org"])
    assert rows[0]["text"] == rows[1]["text"]


def test_lists_become_tuples_where_the_block_wants_them(apply_stage):
    stage = block_stage(
        f"{FILTERS}.FineWebQualityFilter", {"stop_chars": ["!"], "short_line_length": 2, "line_punct_thr": 0.5}
    )
    rows, _ = apply_stage(stage, ["hello there.", "hello there friend!"])
    assert {row: verdict["reason"] for row, verdict in rows.items()} == {0: "line_punct_ratio"}


def test_extractors_turn_markup_into_text(apply_stage, monkeypatch):
    from datatrove.pipeline.extractors.base import BaseExtractor

    class Upper(BaseExtractor):
        def __init__(self):
            super().__init__()

        def extract(self, text):
            return text.upper()

    monkeypatch.setattr("datatrove.pipeline.extractors.Upper", Upper, raising=False)
    rows, _ = apply_stage(DatatroveBlock(use="datatrove.pipeline.extractors.Upper"), ["a", ""])
    assert {row: (v["verdict"], v["reason"], v["text"]) for row, v in rows.items()} == {
        0: ("edited", "Upper", "A"),
        1: ("dropped", "empty", None),
    }


@pytest.fixture
def own_block(monkeypatch):
    """A module with blocks of a user, importable as `own_blocks`."""
    import sys
    import types

    from datatrove.data import Document
    from datatrove.pipeline.base import PipelineStep

    class Tag(PipelineStep):
        def run(self, data, rank=0, world_size=1):
            for document in data:
                if "drop" in document.text:
                    continue
                if "big" in document.text:
                    document.metadata["size"] = len(document.text)
                yield Document(document.text.strip(), document.id, metadata=document.metadata)

    class Twice(PipelineStep):
        def run(self, data, rank=0, world_size=1):
            for document in data:
                yield document
                yield Document("copy", document.id + "-copy")

    module = types.ModuleType("own_blocks")
    vars(module).update(Tag=Tag, Twice=Twice)
    monkeypatch.setitem(sys.modules, "own_blocks", module)


def test_any_block_that_keeps_a_subset_is_matched_by_id(own_block, apply_stage):
    rows, columns = apply_stage(
        block_stage("own_blocks.Tag", {}), ["a ", "drop", "big"], language=pa.array(["en", "de", None])
    )
    assert {row: (v["verdict"], v["reason"]) for row, v in rows.items()} == {
        0: ("edited", "Tag"),
        1: ("dropped", "Tag"),
    }
    assert columns == {"Tag_metadata": [None, None, '{"size": 3}']}


def test_a_block_that_makes_new_documents_is_refused(own_block, apply_stage):
    with pytest.raises(CurateError, match="`Twice` makes new documents"):
        apply_stage(block_stage("own_blocks.Twice", {}), ["a"])


def test_other_columns_are_the_metadata_of_a_document(apply_stage, monkeypatch):
    seen = []
    from datatrove.pipeline.filters import RegexFilter

    monkeypatch.setattr(RegexFilter, "filter", lambda self, document: seen.append(document.metadata) or True)
    apply_stage(block_stage(f"{FILTERS}.RegexFilter", {"regex_exp": "a"}), ["a", "b"], url=pa.array(["u", None]))
    assert seen == [{"source_uri": "test#0", "url": "u"}, {"source_uri": "test#1"}]


@pytest.mark.slow
def test_the_answer_is_the_same_however_the_batches_are_cut(apply_stage):
    texts = [PROSE * n for n in range(1, 8)] + ["", "a@b.org", "- x\n" * 40]
    for use in (f"{FILTERS}.GopherRepetitionFilter", f"{FILTERS}.C4QualityFilter", f"{FORMATTERS}.PIIFormatter"):
        stage = block_stage(use, {})
        together, _ = apply_stage(stage, texts)
        alone = {i: dict(row, row=i) for i, text in enumerate(texts) for row in apply_stage(stage, [text])[0].values()}
        assert together == alone


# ---- out


def test_only_mappers_and_filters_can_be_datatrove_blocks():
    class Nothing(Audit):
        def open(self):
            return lambda batch: batch

    with pytest.raises(CurateError, match="kind `audit`"):
        as_datatrove(Nothing())


def test_a_filter_as_a_datatrove_block_gives_datatroves_answers():
    from datatrove.data import Document

    block = as_datatrove(GopherQuality())
    documents = [
        Document("too short", "a"),
        Document(PROSE * 5, "b", metadata={"odd": 1}),
        Document("x", "c", metadata={"odd": "s"}),
    ]
    assert block.filter_batch(documents) == [(False, "gopher_short_doc"), True, (False, "gopher_short_doc")]


def test_edits_and_columns_of_a_mapper_reach_the_document(own_block):
    from datatrove.data import Document

    document = Document("big ", "a")
    assert as_datatrove(DatatroveBlock(use="own_blocks.Tag")).filter(document) is True
    assert (document.text, document.metadata["Tag_metadata"]) == ("big", '{"size": 4}')


@pytest.mark.slow
def test_our_stages_run_in_datatroves_executor(tmp_path):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    (tmp_path / "in").mkdir()
    for part in range(2):
        records = [{"id": f"{part}-{n}", "text": PROSE * (5 + n) if n % 2 else "too short"} for n in range(20)]
        (tmp_path / "in" / f"{part}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    edit = block_stage(f"{FORMATTERS}.SymbolLinesFormatter", {})
    LocalPipelineExecutor(
        [
            JsonlReader(str(tmp_path / "in")),
            as_datatrove(GopherQuality(), exclusion_writer=JsonlWriter(str(tmp_path / "dropped"), compression=None)),
            as_datatrove(edit),
            JsonlWriter(str(tmp_path / "out"), compression=None),
        ],
        tasks=2,
        workers=2,
        logging_dir=str(tmp_path / "logs"),
    ).run()
    kept = [json.loads(line) for path in (tmp_path / "out").glob("*.jsonl") for line in path.read_text().splitlines()]
    dropped = [
        json.loads(line) for path in (tmp_path / "dropped").glob("*.jsonl") for line in path.read_text().splitlines()
    ]
    assert sorted(record["id"] for record in kept) == sorted(
        f"{part}-{n}" for part in range(2) for n in range(1, 20, 2)
    )
    assert {record["metadata"]["filter_reason"] for record in dropped} == {"gopher_short_doc"}
