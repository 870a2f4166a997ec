"""What a stage needs and that is not here is an error of the run."""

from __future__ import annotations

import json
import sys

import pytest

from curate.clean.html import HtmlText
from curate.clean.unicode import Unicode
from curate.errors import CurateError
from curate.filter.c4 import C4
from curate.filter.fineweb import FineWeb
from curate.filter.gopher import GopherQuality, GopherRepetition
from curate.filter.language import Language
from curate.privacy.pii import Pii
from curate.stages.datatrove.stage import DatatroveBlock
from curate.stages.missing import missing_package, needing
from curate.stages.registry import find_stage, stage_names

FILTERS = "datatrove.pipeline.filters"
NEEDS = [
    (HtmlText(), "resiliparse.extract.html2text", "resiliparse"),
    (Unicode(), "ftfy", "ftfy"),
    (Language(), "fasttext", "fasttext-predict"),
    (Pii(), "presidio_analyzer.predefined_recognizers", "presidio-analyzer"),
    (Pii(), "tldextract", "tldextract"),
    (GopherQuality(), "datatrove.utils.text", "datatrove"),
    (GopherRepetition(), "datatrove.utils.text", "datatrove"),
    (FineWeb(), "datatrove.utils.text", "datatrove"),
]


@pytest.mark.parametrize(("stage", "module", "package"), NEEDS)
def test_a_stage_without_its_package_cannot_be_opened_and_says_how_to_get_it(monkeypatch, stage, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CurateError, match="needs another package") as error:
        stage.open()
    assert error.value.hint == f"pip install {package}"


def test_every_stage_that_drops_or_edits_says_what_its_reasons_mean():
    silent = {name for name in stage_names() if find_stage(name).kind in ("mapper", "filter", "global")}
    silent = {name for name in silent if not find_stage(name).reasons}
    # these attach a column, and say nothing of any document
    assert silent == {"split", "mask_identities", "reweigh", "difficulty"}


@pytest.mark.parametrize("stage", [GopherQuality, GopherRepetition, FineWeb, C4])
def test_a_language_without_its_package_cannot_be_opened(monkeypatch, stage):
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    with pytest.raises(CurateError, match="words of the language `jpn` need another package"):
        stage(language="jpn").open()


def test_a_block_without_its_package_cannot_be_opened(monkeypatch):
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    block = DatatroveBlock(use=f"{FILTERS}.GopherRepetitionFilter", parameters={"language": "jpn"})
    with pytest.raises(CurateError, match="GopherRepetitionFilter` needs a package that is not installed") as error:
        block.open()
    assert "sudachipy" in error.value.hint


@pytest.mark.parametrize("raised", [FileNotFoundError("no model"), LookupError("Resource punkt not found")])
def test_a_block_without_its_model_cannot_be_opened(monkeypatch, raised):
    from datatrove.pipeline.filters import GopherQualityFilter

    def missing(self, document):
        raise raised

    monkeypatch.setattr(GopherQualityFilter, "filter", missing)
    with pytest.raises(CurateError, match="cannot have what it needs"):
        DatatroveBlock(use=f"{FILTERS}.GopherQualityFilter").open()


def test_an_error_that_says_what_to_install_is_followed():
    error = missing_package(ImportError("Please `pip install a-b` for it"), "stage `x` needs another package")
    assert error.hint == "pip install a-b"
    assert "stage `x` needs another package: Please" in error.problem


def test_an_import_by_its_name_is_a_package():
    with pytest.raises(CurateError) as error, needing("mine"):
        import no_such_package.part  # noqa: F401
    assert error.value.hint == "pip install no-such-package"


STAGE = """
from curate.stages.contract import Effect, Mapper, Verdicts


class Late(Mapper):
    def open(self):
        def apply(batch):
            import no_such_package

        return apply
"""


@pytest.mark.slow
def test_a_package_that_is_missing_inside_a_call_ends_the_run_and_quarantines_nobody(tmp_path, monkeypatch):
    from curate.pipeline.run import run

    (tmp_path / "late_package.py").write_text(STAGE)
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"text": f"text {number}"}) for number in range(3)))
    (tmp_path / "pipeline.yaml").write_text(
        "dataset: d\nsources:\n  - {stage: files, paths: in.jsonl}\nstages:\n  - {id: mine, stage: 'late_package:Late'}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CurateError, match="stage `mine` needs another package: No module named") as error:
        run(tmp_path / "pipeline.yaml")
    assert error.value.exit_code == 2
    assert error.value.hint == "pip install no-such-package"
