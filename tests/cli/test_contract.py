"""What scripts rely on: one JSON document on stdout, exit codes, errors on stderr."""

from __future__ import annotations

import json
import os
import signal

import pytest

from curate.cli import COMMANDS, GROUPS


def document(outcome):
    """The one JSON document on stdout."""
    found = json.loads(outcome.out)
    assert found["schema"] == 1
    return found


STORY = (
    "id source verdict stage reason value threshold duplicate_of detail split edits history parent children origin labels "
    "measured"
)
FIELDS = {
    "run pipeline.yaml": "dataset version tag documents stages tasks seconds store",
    "collect pipeline.yaml": "pipeline dataset store lock snapshots",
    "add notes --file one.txt": "id author added name characters store",
    "plan pipeline.yaml": "dataset store stages snapshots",
    "what-if pipeline.yaml --set long.minimum=6": (
        "dataset version tag unit changes rules stages documents examples notes sizes_of"
    ),
    "validate pipeline.yaml": "pipeline dataset valid stages columns notes snapshots",
    "schema": "json_schema",
    "stages": "stages",
    "stages gopher_quality": "stage",
    "why one.txt#0": STORY,
    "why one.txt#0 --version toy@v1": STORY,
    "data list": "store datasets",
    "data show toy": "dataset version tag documents bytes text_bytes columns splits stages lineage provisional notes",
    "data show toy --quarantined": "dataset version tag documents bytes text_bytes columns splits stages lineage provisional "
    "notes quarantined",
    "data log toy": "dataset log runs",
    "data diff toy@v1 toy": "from to added removed changed unchanged examples changes reasons settings text_bytes "
    "splits columns",
    "data tag toy release": "dataset version tag deleted",
    "data sample toy -n 2": "dataset version documents",
    "data verify toy": "dataset version objects bytes problems hint",
    "data export toy --out out.jsonl": "dataset version format out files documents bytes cards notes",
    "data card toy": "dataset version tag created documents text_bytes columns splits sources licenses languages attribution "
    "opted_out tokens stages personal audits origin gaps",
    "data card toy --public-summary": "dataset version points hosts",
    "data push elsewhere toy": "dataset version tag from to objects bytes pruned outdated",
    "audit bias toy": "dataset version audit report lexicon looked_at not_looked_at documents verdicts findings families "
    "skipped groups_without_documents evenness instruments power_means agreement examples weight values_left_out "
    "documents_edited_later texts_without_english cautions",
    "audit compare toy@v1 toy": "before after audit changes cost paired one_in cautions",
    "data gc --dry-run": "versions snapshots objects receipts token_shards browse temporary bytes dry_run",
}


@pytest.mark.parametrize("command", FIELDS)
def test_json_is_one_document_with_the_fields_that_are_promised(done, command):
    outcome = done.cli(*command.split(), "--json")
    assert outcome.code == 0, outcome.err
    assert set(document(outcome)) == {"schema", *FIELDS[command].split()}


@pytest.mark.parametrize("command", [command for command in FIELDS if "run" not in command])
def test_without_json_the_same_commands_write_for_people(done, command):
    outcome = done.cli(*command.split())
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.strip()


def test_stages_of_a_run_have_the_fields_that_are_promised(done):
    [stage, *_] = document(done.cli("run", "pipeline.yaml", "--json"))["stages"]
    assert set(stage) == {"id", "stage", "in", "kept", "dropped", "edited", "quarantined", "seconds", "bytes"}


@pytest.mark.parametrize(
    "name",
    [*([name] for name in COMMANDS), *([group, name] for group, names in GROUPS.items() for name in names)],
    ids=" ".join,
)
def test_every_command_has_help_with_json(project, name):
    outcome = project.cli(*name, "--help")
    assert outcome.code == 0
    assert f"Usage: curate {' '.join(name)}" in outcome.out
    assert "--json" in outcome.out


# ---- exit codes


def test_0_done(done):
    assert done.cli("run", "pipeline.yaml").code == 0


def test_1_our_own_mistake_is_told_without_a_traceback(done, monkeypatch):
    from curate.dataset import refs

    def fails(*_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(refs, "datasets", fails)
    outcome = done.cli("data", "list", "--json")
    assert outcome.code == 1
    assert outcome.err == (
        "internal error: RuntimeError: a defect\n  hint: CURATE_DEBUG=1 shows the traceback; please report it\n"
    )
    assert document(outcome)["errors"][0]["problem"] == "internal error: RuntimeError: a defect"


def test_1_with_debugging_the_traceback_is_shown(done, monkeypatch):
    from curate.dataset import refs

    def fails(*_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(refs, "datasets", fails)
    monkeypatch.setenv("CURATE_DEBUG", "1")
    with pytest.raises(RuntimeError, match="a defect"):
        done.cli("data", "list")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("validate none.yaml", "there is no file `none.yaml`"),
        (
            "run pipeline.yaml --set long.minimum=x",
            "stage `toy_stages:Long`: `minimum`: input should be a valid integer, got 'x'",
        ),
        ("run pipeline.yaml --backend slrum", "there is no backend `slrum`"),
        ("run pipeline.yaml --force x", "no stage has the id `x`"),
        ("data show nothing", "there is no dataset named `nothing` in the store"),
        ("data show toy@nothing", "dataset `toy` has no tag or version `nothing`"),
        ("data list --store elsewhere", "there is no store at `elsewhere`"),
        ("data sample toy --split x", "`toy` has no split `x`"),
        ("data tag toy nothing --delete", "dataset `toy` has no tag `nothing`"),
        ("why nobody", "no document `nobody` went into toy@"),
        ("stages nothing", "there is no stage named `nothing`"),
    ],
)
def test_2_a_wrong_configuration_or_name(done, command, problem):
    outcome = done.cli(*command.split(), "--json")
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {problem}")
    assert document(outcome)["errors"][0]["problem"].startswith(problem)
    assert done.cli(*command.split()) == (2, "", outcome.err)


@pytest.mark.parametrize(
    ("command", "problem", "hint"),
    [
        ("rnu", "no such command 'rnu'. Did you mean 'run'?", "`curate --help` shows how it is used"),
        ("data shwo toy", "no such command 'shwo'. Did you mean 'show'?", "`curate data --help` shows how it is used"),
        ("validate", "missing argument 'pipeline'", "`curate validate --help` shows how it is used"),
        ("validate x --jsn", "no such option: --jsn", "`curate validate --help` shows how it is used"),
        ("run x --workers many", "invalid value for '--workers'", "`curate run --help` shows how it is used"),
        ("run x --workers 0", "invalid value for '--workers'", "`curate run --help` shows how it is used"),
    ],
)  # fmt: skip
def test_2_a_wrong_command_line(project, command, problem, hint):
    outcome = project.cli(*command.split(), "--json")
    assert outcome.code == 2
    [record] = document(outcome)["errors"]
    assert record["problem"].lower().startswith(problem.lower())
    assert record["hint"] == hint
    assert outcome.err == f"error: {record['problem']}\n  hint: {hint}\n"


def test_2_no_command_shows_the_help(project):
    outcome = project.cli()
    assert (outcome.code, outcome.out) == (2, "")
    assert "Run a pipeline file and commit a dataset version." in outcome.err


def test_2_a_source_that_matches_nothing(project):
    project.pipeline('dataset: a\nsources: [{stage: files, paths: ["in/*.jsonl"]}]\n')
    outcome = project.cli("run", "pipeline.yaml")
    assert outcome.code == 2
    assert outcome.err.startswith("error: nothing matches `in/*.jsonl`\n  at: pipeline.yaml:2:11\n  hint: ")


def test_3_a_gate_that_failed_has_the_result_and_the_error(toy):
    outcome = toy.cli("run", "pipeline.yaml", "--set", "max_quarantined=0", "--workers", 1, "--json")
    assert outcome.code == 3
    found = document(outcome)
    assert found["errors"][0]["problem"] == "1 of 61 documents are quarantined, more than `max_quarantined: 0` allows"
    assert (len(toy.open(f"toy@{found['version']}")), found["tag"]) == (57, "")


def test_3_a_gate_that_failed_shows_the_funnel_all_the_same(toy):
    outcome = toy.cli("run", "pipeline.yaml", "--set", "max_quarantined=0", "--workers", 1)
    assert outcome.code == 3
    assert "61 documents in = 57 kept + 3 dropped + 1 quarantined" in outcome.out
    assert "error: 1 of 61 documents are quarantined" in outcome.err


def test_4_a_full_disk(toy, monkeypatch):
    import errno

    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    outcome = toy.cli("run", "pipeline.yaml", "--json")
    assert outcome.code == 4
    assert document(outcome)["errors"][0]["problem"] == "the disk is full"


def _while_a_class_is_made(_):
    class Interrupting:
        def __set_name__(self, owner, name):
            signal.raise_signal(signal.SIGINT)

    type("Made", (), {"field": Interrupting()})  # before Python 3.12 a RuntimeError, because of the interrupt


@pytest.mark.parametrize("interrupt", [lambda _: signal.raise_signal(signal.SIGINT), _while_a_class_is_made])
def test_130_an_interrupt(done, monkeypatch, interrupt):
    from curate.dataset import refs

    monkeypatch.setattr(refs, "datasets", interrupt)
    outcome = done.cli("data", "list", "--json")
    assert outcome.code == 130
    assert outcome.err == "interrupted; finished work is kept, the same command goes on from there\n"
    assert document(outcome)["errors"][0]["problem"] == "interrupted"


def test_141_a_reader_that_has_gone(done):
    process = done.start("data", "sample", "toy", "-n", 57)
    process.stdout.close()
    assert process.wait() == 141
    assert process.stderr.read() == ""
    process.stderr.close()


# ---- JSON of odd values


def test_odd_values_of_columns_are_json(project):
    project.write(
        "odd_source_module.py",
        "import datetime, decimal",
        "from curate.stages.contract import Part, Source",
        "class Odd(Source):",
        "    def plan(self, context): return [Part('a', 'a', 'a')]",
        "    def read(self, part):",
        "        import pyarrow as pa",
        "        yield pa.table({'id': ['x'], 'text': ['t'], 'source_uri': ['a#0'], 'nan': [float('nan')],",
        "            'when': [datetime.datetime(2024, 1, 2)], 'price': [decimal.Decimal('1.5')], 'raw': [b'\\xff']})",
    )
    project.pipeline('dataset: odd\nsources: [{stage: "odd_source_module:Odd"}]\n')
    assert project.cli("run", "pipeline.yaml", "--workers", 1).code == 0
    [row] = document(project.cli("data", "sample", "odd", "--json"))["documents"]
    assert (row["nan"], row["when"], row["price"]) == (None, "2024-01-02T00:00:00", "1.5")


def test_the_log_tells_what_made_a_version_and_what_was_made_of_it(done):
    done.cli("data", "export", "toy", "--out", "out.jsonl")
    lines = [line.split()[1:] for line in done.cli("data", "log", "toy").out.split("\n\n")[1].splitlines()]
    assert lines == [
        ["run", "state", "version", "file", "or", "folder"],
        ["export", "done", "toy@v1", str(done.root / "out.jsonl")],
        ["run", "done", "toy@v1", "pipeline.yaml"],
    ]
