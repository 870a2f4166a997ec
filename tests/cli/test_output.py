"""What people read: tables, errors, the story of a document; golden texts."""

from __future__ import annotations

import json
import re

import pytest


def test_the_funnel(toy):
    outcome = toy.cli("run", "pipeline.yaml", "--workers", 1)
    shown = re.sub(r"\d+\.\d$", "0.0", outcome.out, flags=re.MULTILINE)
    shown = re.sub(r"\d+\.\d s$", "0.0 s", shown, flags=re.MULTILINE)
    assert shown == (
        "stage    in  kept  dropped  edited  quarantined  worker s\n"
        "lines    61    60        0       0            1       0.0\n"
        "shout    60    60        0      34            0       0.0\n"
        "long     60    58        2       0            0       0.0\n"
        "letters  58    58        0       0            0       0.0\n"
        "copies   58    57        1       0            0       0.0\n"
        "\n"
        "61 documents in = 57 kept + 3 dropped + 1 quarantined\n"
        "tasks: 20 run, 0 cached, 0.0 s\n"
        f"version: toy@v1 ({toy.open().version[:12]})\n"
        "store: .curate\n"
    )


def test_progress_on_stderr_is_one_line_a_stage(toy):
    outcome = toy.cli("run", "pipeline.yaml", "--workers", 1)
    lines = [line for line in outcome.err.splitlines() if not line.startswith("note: ")]
    assert [re.sub(r" \(.* s\)", "", line) for line in lines] == [
        "lines: 61 in, 60 kept, 1 quarantined",
        "shout: 60 in, 60 kept, 34 edited",
        "long: 60 in, 58 kept, 2 dropped",
        "letters: 58 in, 58 kept",
        "copies: 58 in, 57 kept, 1 dropped",
    ]


def test_a_plan(done):
    assert done.cli("plan", "pipeline.yaml", "--set", "long.minimum=6").out == (
        "stage    action    cached  to run  why\n"
        "lines    cached         2       0  nothing changed\n"
        "shout    cached         2       0  nothing changed\n"
        "long     decide         0       2  setting `minimum` changed: 5 -> 6\n"
        "letters  will run       0       ?  only documents that `long` lets in\n"
        "copies   will run       0       ?  only documents that `long` lets in\n"
    )


def test_a_valid_file(toy):
    assert toy.cli("validate", "pipeline.yaml").out == (
        "pipeline.yaml: 1 source(s) and 4 stage(s), all settings valid\n"
        "columns of the documents: id, text, source_uri\n"
    )


def test_errors(toy):
    toy.pipeline("dataset: a b\nsources:\n  - {stage: files}\nstages:\n  - {stage: pi}\n")
    assert toy.cli("validate", "pipeline.yaml").err == (
        "error: the pipeline: `dataset`: string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$', got 'a b'\n"
        "  at: pipeline.yaml:1:1\n"
        "error: stage `files` needs the setting `paths`\n"
        "  at: pipeline.yaml:3:5\n"
        "error: there is no stage named `pi`\n"
        "  at: pipeline.yaml:5:6\n"
        "  hint: did you mean `pii` or `api`?\n"
    )


@pytest.mark.parametrize(
    ("document", "story"),
    [
        (
            "one.txt#0",
            "one.txt#0 (one.txt#0): kept\n"
            "  lines: read, 14 characters\n"
            "  shout: edited shouted, 14, 14 -> 14 characters\n"
            "    all at 0-14\n"
            "  long measured: length 14 (minimum 5, scale 1)\n"
            "  letters measured: letters 0\n"
            "  => in the version\n",
        ),
        (
            "two.txt#26",
            "two.txt#26 (two.txt#26): dropped\n"
            "  lines: read, 3 characters\n"
            "  long: dropped too_short, 3 (at least 5)\n"
            "  long measured: length 3 (minimum 5, scale 1)\n"
            "  => dropped\n",
        ),
        (
            "two.txt#25",
            "two.txt#25 (two.txt#25): dropped\n"
            "  lines: read, 13 characters\n"
            "  shout: edited shouted, 13, 13 -> 13 characters\n"
            "    all at 0-13\n"
            "  copies: dropped duplicate, like `one.txt#32`\n"
            "  long measured: length 13 (minimum 5, scale 1)\n"
            "  letters measured: letters 0\n"
            "  => dropped\n",
        ),
    ],
)
def test_the_story_of_a_document(done, document, story):
    assert done.cli("why", document).out == story


def test_why_answers_from_the_only_dataset_that_has_the_document(done):
    done.write("three.txt", "only here, in this one")
    done.file.write_text(done.file.read_text().replace("dataset: toy", "dataset: other"))
    done.run()
    assert done.cli("why", "three.txt#0").code == 0
    assert "no dataset has `nothing#0`" in done.cli("why", "nothing#0").err


def test_why_says_how_much_of_an_id_it_needs(done):
    assert "the beginning of an id needs 4 characters" in done.cli("why", "two").err


@pytest.mark.parametrize(
    ("option", "name", "near"), [("--stage", "lomg", "long"), ("--reason", "too_shirt", "too_short")]
)
def test_a_stage_or_reason_that_is_not_there_is_told_with_the_nearest(done, option, name, near):
    err = done.cli("data", "show", "toy", "--dropped", option, name).err
    assert f"`toy` has no {option[2:]} `{name}`" in err
    assert f"did you mean `{near}`?" in err


def test_the_limit_of_a_dropped_document_is_told_in_words(done):
    assert "at least 5" in done.cli("data", "show", "toy", "--dropped", "--stage", "long").out


def test_why_asks_which_dataset_where_there_are_several(done):
    done.run("dataset=other")
    outcome = done.cli("why", "one.txt#0")
    assert outcome.code == 2
    assert "is in several datasets; which version?" in outcome.err
    assert "hint: --version other | toy" in outcome.err


def test_a_list_of_datasets(done):
    version = done.open().version[:12]
    size = f"{done.open().manifest['bytes']:,}"
    assert done.cli("data", "list").out == (
        f"dataset  tag  version       documents  {'bytes':>{len(size)}}  versions\n"
        f"toy      v1   {version}         57  {size}         1\n"
    )


@pytest.mark.parametrize(
    ("damaged", "problem"),
    [("refs/toy.json", "the names of dataset `toy` cannot be read"), ("versions", "the manifest of version")],
)
@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_list_of_datasets_tells_which_is_damaged_and_lists_the_others(done, damaged, problem, content):
    version = done.open().version
    done.run("dataset=other")
    path = done.root / ".curate" / damaged
    (path if path.is_file() else path / f"{version}.json").write_text(content)
    outcome = done.cli("data", "list", "--json")
    other, toy = json.loads(outcome.out)["datasets"]
    assert (outcome.code, other["problem"], other["documents"]) == (0, None, 57)
    assert toy["problem"].startswith(problem)
    header, *lines = done.cli("data", "list").out.splitlines()
    assert header.endswith("problem")
    assert problem in lines[1]


def test_quarantined_documents_are_listed(done):
    [row] = json.loads(done.cli("data", "show", "toy", "--quarantined", "--json").out)["quarantined"]
    assert (row["source_uri"], row["reason"]) == ("one.txt#31", "bad_line")
    header, line = done.cli("data", "show", "toy", "--quarantined").out.splitlines()
    assert header.split() == ["id", "stage", "source_uri", "reason", "detail"]
    assert line.split(maxsplit=4) == [row[name] for name in header.split()]


def test_dropped_documents_are_listed_by_stage_and_reason(done):
    listed = json.loads(done.cli("data", "show", "toy", "--dropped", "--json").out)["dropped"]
    assert {(row["id"], row["stage"], row["reason"], row["value"]) for row in listed} == {
        ("one.txt#30", "long", "too_short", 3.0),
        ("two.txt#26", "long", "too_short", 3.0),
        ("two.txt#25", "copies", "duplicate", None),
    }
    only = done.cli("data", "show", "toy", "--stage", "copies").out
    assert "two.txt#25" in only
    assert "one.txt#30" not in only
    assert len(done.cli("data", "show", "toy", "--reason", "too_short").out.splitlines()) == 3


def test_a_diff_of_everything_names_every_document(done):
    done.run("long.minimum=14")
    assert "removed one.txt#32" in done.cli("data", "diff", "toy@v1", "toy@v2", "--all").out.splitlines()


def test_a_version_is_shown(done):
    shown = done.cli("data", "show", "toy").out
    assert shown.startswith(f"toy@v1  {done.open().version}\n61 documents in = 57 kept + 3 dropped + 1 quarantined; ")
    assert "split  documents  text bytes\ntrain         57" in shown
    assert "one.txt  xxh3-128:" in shown


def test_a_diff(done):
    done.run("long.minimum=14")
    assert done.cli("data", "diff", "toy@v1", "toy@v2").out == (
        "documents  number  for example\n"
        "added           0\n"
        "removed         1  one.txt#32\n"
        "changed         0\n"
        "unchanged      56\n"
        "\n"
        f"why removed documents are not in {done.open().version[:12]}\n"
        "stage  verdict  reason     documents\n"
        "long   dropped  too_short          1\n"
        "\n"
        "what differs in the pipelines\n"
        "stage  setting  before  after\n"
        "long   minimum       5     14\n"
        "\n"
        "bytes of text: 1,008 -> 995\n"
    )


def test_a_sample_is_the_same_every_time_and_another_with_another_seed(done):
    first = done.cli("data", "sample", "toy", "-n", 3).out
    assert first.count("--- id=") == 3
    assert done.cli("data", "sample", "toy", "-n", 3).out == first
    assert done.cli("data", "sample", "toy", "-n", 3, "--seed", 2).out != first


def test_a_sample_of_documents_without_a_text_shows_their_columns(project):
    turns = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Yes.", "n": 1}]
    project.write(
        "a.jsonl", json.dumps({"id": "x", "messages": turns, "topic": "greeting", "owner": {"a": [1]}, "n": 2})
    )
    project.pipeline("dataset: toy\nsources: [{stage: files, paths: a.jsonl}]\nstages: []\n")
    project.run()
    assert project.cli("data", "sample", "toy").out == (
        "--- id=x  source_uri=a.jsonl#0  n=2\n"
        "messages:\n"
        "  user: Hello?\n"
        '  assistant: Yes. {"n": 1}\n'
        'owner: {"a": [1]}\n'
        "topic: greeting\n"
        "\n"
    )
    [row] = json.loads(project.cli("data", "sample", "toy", "--json").out)["documents"]
    assert (row["messages"], row["owner"], row["topic"]) == (turns, {"a": [1]}, "greeting")


def test_a_sample_of_more_than_there_are_is_all(done):
    assert done.cli("data", "sample", "toy", "-n", 1000).out.count("--- id=") == 57


def test_a_sample_shows_the_beginnings_of_texts_or_all_of_them(project):
    text = "word " * 300 + "end"
    project.write(
        "rows.jsonl", f'{{"id": "one", "text": "{text}", "place": "{"far " * 20}", "topic": "{"long " * 8}"}}'
    )
    project.pipeline('dataset: toy\nsources:\n  - {stage: files, paths: ["rows.jsonl"]}\nstages: []\n')
    project.run()
    shown = project.cli("data", "sample", "toy").out
    assert shown.startswith(f"--- id=one  source_uri=rows.jsonl#0\n    place={'far ' * 20}\n    topic={'long ' * 8}\n")
    assert f"{'word ' * 120}... (1,503 characters; --full prints all)\n" in shown
    assert f"\n{text}\n" in project.cli("data", "sample", "toy", "--full").out


def test_a_tag_is_set_shown_and_removed(done):
    assert done.cli("data", "tag", "toy", "release").out == f"toy@release = {done.open().version[:12]}\n"
    assert done.cli("data", "log", "toy").out.splitlines()[1].split()[1:3] == ["tag", "release"]
    assert done.cli("data", "tag", "toy", "release", "--delete").out == "toy@release removed\n"


def test_a_store_elsewhere_is_named_by_option_or_variable(done, monkeypatch, tmp_path):
    (done.root / ".curate").rename(tmp_path / "store")
    assert done.cli("data", "list", "--store", tmp_path / "store").code == 0
    monkeypatch.setenv("CURATE_STORE", str(tmp_path / "store"))
    assert done.cli("data", "list").code == 0
    assert done.cli("run", "pipeline.yaml", "--json").out.count('"run": 0') == 1


def test_no_output_has_colours_where_they_are_not_wanted(toy, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    for command in ("--help", "run --help", "run pipeline.yaml --workers 1", "validate none.yaml", "rnu"):
        outcome = toy.cli(*command.split())
        assert "\x1b[" not in outcome.out + outcome.err


def test_bars_on_a_terminal_have_no_colours_where_they_are_not_wanted(monkeypatch):
    import io
    import sys

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    from curate.pipeline.progress import progress_for_terminal

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress_for_terminal() as progress:
        progress.begin("a > b", 2)
        progress.advance(10)
        progress.stage_done("a: 10 in")
        progress.note("a worker died")
    shown = terminal.getvalue()
    assert "a: 10 in" in shown
    assert "note: a worker died" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def test_splits_are_shown_in_the_order_of_their_use(project):
    project.write("a.txt", *(f"line {i}" for i in range(4)))
    project.stages("Halves")
    project.run()
    assert "\ntrain          2          12\ntest           2          12\n" in project.cli("data", "show", "toy").out


@pytest.mark.parametrize(("stages", "told"), [("[]", True), ("[{stage: split, column: split}]", False)])
def test_splits_that_the_data_has_and_nobody_takes_over_are_told(project, stages, told):
    project.write("rows.jsonl", '{"text": "one", "split": "train"}', '{"text": "two", "split": "test"}')
    project.pipeline(
        f'dataset: toy\nsources:\n  - {{stage: files, paths: ["rows.jsonl"], make_ids: true}}\nstages: {stages}\n'
    )
    note = "has a column `split`, but all documents are in the split `train`: the stage `{stage: split, column: split}`"
    assert (note in project.cli("run", "pipeline.yaml").err) == told


HOSTILE = "\x1b]0;pwned\x07\x9b31m\u202egnp\rx"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def hostile(project):
    """A project whose files, ids, columns and texts would steer a terminal; two versions."""
    ids = [f"{HOSTILE}{number}" for number in range(4)]
    texts = [f"{HOSTILE} a b c", f"{HOSTILE} a b c", "short", f"{HOSTILE} d e f mail jane.roe@example.com"]
    rows = [{"id": one, "text": text, HOSTILE: HOSTILE} for one, text in zip(ids, texts, strict=True)]
    (project.root / "in").mkdir()
    project.write(f"in/{HOSTILE.replace(chr(13), '')}.jsonl", *map(json.dumps, rows), "no JSON")
    for stages in ("[pii, exact_duplicates]", "[exact_duplicates, pii]"):
        project.pipeline(f"dataset: toy\nsources: [{{stage: files, paths: in/*}}]\nstages: {stages}\n")
        outcome = project.cli("run", "pipeline.yaml", "--workers", 1)
        assert outcome.code == 0, outcome.err
        assert not STEERING.search(outcome.out + outcome.err)
    return project


COMMANDS = """
plan pipeline.yaml --set pii.min_score=0.9
validate pipeline.yaml
data list
data show toy
data show toy --dropped
data show toy --quarantined
data log toy
data sample toy -n 9
data diff toy@v1 toy@v2 --all
data verify toy
why ID0
why ID1
why ID3
why ID9
data show ID
run ID
data show toy --json --dropped
data sample toy --json
why ID3 --json
"""


def test_nothing_that_is_printed_steers_the_terminal(hostile):
    for command in COMMANDS.strip().splitlines():
        outcome = hostile.cli(*(part.replace("ID", HOSTILE) for part in command.split(" ")))
        assert not STEERING.search(outcome.out + outcome.err), command
        if command.startswith(("why ID", "data sample toy -n", "data show toy --d", "data show toy --q")):
            shown = r"\u001b]0;pwned" if "--json" in command else r"\x1b]0;pwned\x07\x9b31m\u202egnp"
            assert shown in outcome.out + outcome.err, command
    assert json.loads(hostile.cli("why", f"{HOSTILE}3", "--json").out)["id"] == f"{HOSTILE}3"


@pytest.mark.parametrize("finished", ["stage_done", "note"])
def test_progress_does_not_steer_the_terminal(finished, capsys):
    from curate.pipeline.progress import _Bars, _Lines

    for kind in (_Lines, _Bars):
        with kind() as progress:
            progress.begin(HOSTILE, 2)
            getattr(progress, finished)(HOSTILE)
        shown = capsys.readouterr().err
        assert r"\x1b]0;pwned" in shown
        assert "\x1b]0;pwned" not in shown
