"""Erasing a document that a model was asked about, or one that it made: no row and no answer of the question stays."""

import json

import pytest

from curate.cli import main
from curate.dataset.snapshots import snapshots
from curate.dataset.store import Store
from tests.synthesize.stub import Stub


def erased(lab, monkeypatch, *documents):
    """Erase, and give the store, and the keys of its snapshots."""
    monkeypatch.chdir(lab.root)
    (lab.root / "subject.yaml").write_text(json.dumps({"documents": list(documents)}))
    monkeypatch.setattr("sys.argv", ["curate", "data", "erase", "--subject-file", "subject.yaml"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    store = Store.open(lab.root / ".curate")
    pieces = [piece["object"] for _, record in snapshots(store) for piece in record["pieces"]]
    return store, [key for name in pieces for key in store.read_table(name).column("@key").to_pylist()]


def held(store):
    """All that objects and answers say."""
    names = [blob.name.rpartition("/")[2].partition(".")[0] for blob in store.blobs.list("objects")]
    answers = [store.blobs.read(blob.name).decode() for blob in store.blobs.list("answers")]
    return "\n".join([*(str(store.read_table(name).to_pydict()) for name in names), *answers])


@pytest.fixture
def seeded(lab):
    rows = [{"id": f"d{number}", "text": f"Fact {word} of the sea."} for number, word in enumerate(("ONE", "TWO"))]
    lab.seeds([{**row, "chosen": f"good {row['id']}", "rejected": f"bad {row['id']}"} for row in rows])
    return lab


def test_an_erased_document_leaves_no_prompt_no_answer_and_no_document_that_a_model_made_of_it(seeded, monkeypatch):
    with Stub(lambda body: "Of TWO." if "TWO" in str(body) else "Of the other.") as stub:
        seeded.run(stub.url, task="paraphrase", samples=2)
    store, keys = erased(seeded, monkeypatch, "d1")
    assert keys == ["d0/0", "d0/1"]
    assert "TWO" not in held(store)
    assert [row["id"] for row in seeded.rows()] == ["paraphrase/d0/0", "paraphrase/d0/1"]


def test_of_one_question_all_that_was_answered_goes_with_one_document_of_it(seeded, monkeypatch):
    def say(body):
        name = "TWO" if "TWO" in str(body) else "ONE"
        return json.dumps({"pairs": [{"question": f"What {part} {name}?", "answer": "It."} for part in ("is", "was")]})

    with Stub(say) as stub:
        seeded.run(stub.url, task="questions")
    store, keys = erased(seeded, monkeypatch, "questions/d1/0.1")
    assert keys == ["d0/0"]
    assert "What was TWO" not in held(store)


def test_both_orders_of_a_judge_go_together(seeded, monkeypatch):
    def judge(body):
        said = body["messages"][-1]["content"]
        return json.dumps({"better": "first" if said.index("good") < said.index("bad") else "second"})

    with Stub(judge) as stub:
        seeded.run(stub.url, task="judge")
    store, keys = erased(seeded, monkeypatch, "judge/d1/0")
    assert keys == ["d0/0/as_given", "d0/0/swapped"]
    assert len(list(store.blobs.list("answers"))) == 2
