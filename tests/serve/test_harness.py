"""lm-evaluation-harness through HTTP, and `curate eval` of a server: the numbers are those of the model."""

from __future__ import annotations

import pytest

from curate.evaluation.models.opened import open_model
from tests.evaluation.language_model import llama_folder
from tests.evaluation.test_harness import own_task
from tests.serve.conftest import serving

TASKS = ("lambada", "sst2", "arc_easy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama that knows nothing, with a tokenizer of bytes."""
    return llama_folder(tmp_path_factory.mktemp("model"), length=128)


@pytest.fixture(scope="module")
def served(folder):
    with serving(open_model(str(folder), backend="ours"), name="llama") as server:
        yield server


def test_the_harness_finds_through_http_what_it_finds_directly(folder, served, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import lm_eval.tasks
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    for name in TASKS:
        own_task(tmp_path, name)
    results = []
    for model in (
        HFLM(pretrained=str(folder), device="cpu", batch_size=4),
        LocalCompletionsAPI(
            model="llama", base_url=f"{served.url}/completions", tokenizer=str(folder), max_length=126, batch_size=4
        ),
    ):
        manager = lm_eval.tasks.TaskManager(include_path=str(tmp_path), include_defaults=False)
        names = [f"own_{name}" for name in TASKS]
        found = lm_eval.simple_evaluate(model=model, tasks=names, task_manager=manager, bootstrap_iters=0)
        results.append(found)
    direct, http = results
    for name in TASKS:
        one, other = ([sample["resps"] for sample in found["samples"][f"own_{name}"]] for found in results)
        for first, second in zip(one, other, strict=True):
            for ((log, greedy),), ((log_there, greedy_there),) in zip(first, second, strict=True):
                assert (log_there, greedy_there) == (pytest.approx(log, abs=1e-4), greedy)
        for metric, value in direct["results"][f"own_{name}"].items():
            if isinstance(value, float):
                assert http["results"][f"own_{name}"][metric] == pytest.approx(value, rel=1e-4, abs=1e-4), metric


def test_curate_eval_of_the_server_finds_what_the_model_finds(folder, served):
    model = open_model(str(folder), backend="ours")
    there = open_model(served.url, endpoint_tokenizer=str(folder))
    texts = ["a text", "another one, which is longer than the model reads at once, " * 4]
    for one, other in zip(there.read(texts), model.read(texts), strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
    short = texts[:1]
    assert there.read(short)[0].nats == pytest.approx(model.read(short)[0].nats, abs=1e-4)
    pairs = [("the cat", " sat"), ("a dog", " ran away")]
    for one, other in zip(there.score(pairs), model.score(pairs), strict=True):
        assert one.nats == pytest.approx(other.nats, abs=1e-4) and one.greedy == other.greedy
    [said] = there.complete(["the cat"], most=8)
    assert said.text == model.complete(["the cat"], most=8)[0].text
