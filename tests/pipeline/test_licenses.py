"""The gate `licenses`: which licences a version may have, and what is said of those it may not."""

from __future__ import annotations

import json

import pytest

from curate.config.licenses import Licenses
from curate.config.pipeline import Settings
from curate.errors import GateError
from curate.pipeline.gates import failed_gate


@pytest.mark.parametrize(
    ("allow", "expression", "passes"),
    [
        (["MIT"], "MIT", True),
        (["MIT"], "mit", True),
        (["MIT"], "Apache-2.0", False),
        (["MIT"], None, False),
        (["MIT", None], None, True),
        (["MIT"], "MIT OR GPL-3.0-only", True),
        (["MIT"], "MIT AND GPL-3.0-only", False),
        (["MIT", "GPL-3.0-only"], "MIT AND GPL-3.0-only", True),
        (["MIT"], "GPL-3.0-only OR MIT AND Zlib", False),
        (["MIT"], "MIT WITH Some-exception", False),
        (["MIT", "Zlib"], "(MIT OR Zlib)", False),
        (["(MIT OR Zlib)"], "(MIT OR Zlib)", True),
        (["MIT"], "", False),
    ],
)
def test_an_expression_passes_by_its_ids(allow, expression, passes):
    assert Licenses(allow=allow).allows(expression) is passes


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    """A version with four documents: two licences, and one without."""
    import curate

    root = tmp_path_factory.mktemp("licensed")
    rows = [
        {"id": str(n), "text": f"text {n}", "license": one}
        for n, one in enumerate(["MIT", "MIT", "GPL-3.0-only", None])
    ]
    (root / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "pipeline.yaml").write_text('dataset: code\nsources: [{stage: files, paths: ["in.jsonl"]}]\nstages: []\n')
    return root, curate.run(root / "pipeline.yaml", workers=1)


def check(run_once, **licenses):
    from curate.dataset.store import Store

    root, done = run_once
    settings = Settings.model_validate({"dataset": "code", "licenses": licenses})
    return failed_gate(settings, Store.open(root / ".curate"), done.version)


def test_a_version_whose_licences_are_all_allowed_passes(run_once):
    assert check(run_once, allow=["MIT", "GPL-3.0-only", None]) is None


def test_licences_that_are_not_allowed_are_named_with_their_documents_and_unknown_ones_apart(run_once):
    problem, hint = check(run_once, allow=["MIT"])
    assert problem == (
        "of 4 documents, 1 under licences that `licenses.allow` does not list: `GPL-3.0-only` (1); 1 under none that is known"
    )
    assert hint.startswith("allow them (null: those under none that is known)")


def test_documents_without_a_licence_alone_fail_it_too(run_once):
    problem, _ = check(run_once, allow=["MIT", "GPL-3.0-only"])
    assert problem == "of 4 documents, 1 under none that is known"


def test_a_version_without_the_column_fails_it(run_once):
    problem, hint = check(run_once, allow=["MIT"], column="licence")
    assert problem == "the version has no column `licence`, which the gate `licenses` asks for"
    assert hint == "name the column that has SPDX ids: `licenses: {allow: [...], column: NAME}`"


def test_a_run_that_fails_it_exits_with_3_and_the_same_version_passes_without_it(run_once):
    import curate

    root, done = run_once
    file = root / "gated.yaml"
    file.write_text((root / "pipeline.yaml").read_text() + "licenses: {allow: [MIT]}\n")
    with pytest.raises(GateError, match="of 4 documents, 1 under licences") as caught:
        curate.run(file, workers=1)
    assert (caught.value.exit_code, caught.value.result["version"]) == (3, done.version)
    assert curate.run(root / "pipeline.yaml", workers=1).tag == "v1"


def test_a_setting_that_is_none_is_told_with_its_place(project):
    project.pipeline('dataset: a\nlicenses: {alow: [MIT]}\nsources: [{stage: files, paths: ["x"]}]\n')
    outcome = project.cli("validate", "pipeline.yaml")
    assert outcome.code == 2 and "has no setting `licenses.alow`" in outcome.err and "pipeline.yaml:2:" in outcome.err
