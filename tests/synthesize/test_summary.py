"""A public summary tells of what a model wrote, by whatever way it came."""

import json

import curate
from curate.dataset.disclosure import generated, summary_points
from curate.dataset.facts import facts_of
from tests.synthesize.stub import Stub


def test_a_version_that_reads_a_synthetic_one_says_that_it_is_synthetic_and_by_which_model(lab, monkeypatch):
    lab.seeds([{"id": "a", "text": "Tides come twice."}, {"id": "b", "text": "Moons turn."}])
    with Stub(lambda body: f"Of the sea: {body['messages'][-1]['content'][-9:]}") as stub:
        lab.run(stub.url, task="paraphrase")
    sources = [{"stage": "dataset", "id": name, "name": name} for name in ("seeds", "made")]
    whole = {"dataset": "both", "min_documents": 0, "sources": sources, "stages": []}
    (lab.root / "both.yaml").write_text(json.dumps(whole))
    curate.run(lab.root / "both.yaml", workers=1)
    opened = curate.open_dataset("both", lab.root / ".curate")
    monkeypatch.setattr(type(opened), "inputs", lambda dataset: [])  # bytes of versions are not what is told here
    points = summary_points(facts_of(opened), {}, generated(opened))
    told = {(one.law, one.number): "\n".join(one.known) for one in points}
    assert "| `seeds` |" in told["EU", "2.1"] and "| `made` |" not in told["EU", "2.1"]
    for place in (("EU", "2.5"), ("California", "12")):
        assert "| `made` |" in told[place] and "2 documents name the model that wrote them" in told[place]
        assert "| stub-1 | 2 | 50.0 % |" in told[place]
