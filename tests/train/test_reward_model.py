"""Scores of answers by a reward model: those of the training, of its export, and of transformers."""

from __future__ import annotations

import pytest
import torch

from curate.errors import CurateError
from curate.train.export.export import export_run
from curate.train.weights.reward_model import open_reward_model
from tests.oracles import library
from tests.train.tiny_tasks import rows_of

pytestmark = pytest.mark.slow

HELD = rows_of("preference", 16, seed=1)
PROMPTS, CHOSEN, REJECTED = HELD["prompt"], HELD["chosen"], HELD["rejected"]
PLAIN, CHAT = {}, {"data": {"chat": True}}


@pytest.fixture
def judge(trained):
    """The folder of a run of reward models: `judge(**settings)`."""
    return lambda **settings: trained("reward", steps=8, validation={"every": 8, "sequences": None}, **settings)


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("settings", [PLAIN, CHAT], ids=["plain", "chat"])
def test_scores_are_those_of_the_validation(judge, settings):
    folder = judge(**settings)
    model, known = open_reward_model(str(folder.path)), folder.result()["validation"]
    assert (model.template is not None) == (settings is CHAT)
    chosen, rejected = model.score(PROMPTS, CHOSEN), model.score(PROMPTS, REJECTED)
    assert mean(chosen) == pytest.approx(known["chosen_score"], abs=1e-5)
    assert mean(rejected) == pytest.approx(known["rejected_score"], abs=1e-5)
    assert mean([one > other for one, other in zip(chosen, rejected, strict=True)]) == known["accuracy"]


@pytest.mark.parametrize("settings", [PLAIN, CHAT], ids=["plain", "chat"])
def test_an_export_has_the_scores_of_its_run_and_of_transformers(judge, tmp_path, settings):
    transformers = library("transformers")
    folder = judge(**settings)
    export_run(folder.path, tmp_path / "out")
    run, exported = (open_reward_model(str(path)) for path in (folder.path, tmp_path / "out"))
    wanted = run.score(PROMPTS, CHOSEN)
    assert exported.score(PROMPTS, CHOSEN) == pytest.approx(wanted, abs=1e-5)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs.config.num_labels == 1
    for prompt, answer, score in list(zip(PROMPTS, CHOSEN, wanted, strict=True))[:3]:
        if settings is CHAT:
            turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            tokens = tokenizer.apply_chat_template(turns, return_dict=True, return_tensors="pt")
        else:
            start, end = run.roles["start"], run.roles["end_of_text"]
            words = [tokenizer.encode(text, add_special_tokens=False) for text in (prompt, answer)]
            tokens = {"input_ids": torch.tensor([[start, *words[0], *words[1], end]])}
        with torch.no_grad():
            assert theirs(**tokens).logits.item() == pytest.approx(score, abs=1e-5)


def test_a_score_does_not_depend_on_what_else_is_scored(judge):
    model = open_reward_model(str(judge().path))
    together = model.score([*PROMPTS, "the small cat sings and waits"], [*CHOSEN, "merry glad jolly"])
    assert model.score(PROMPTS[:1], CHOSEN[:1]) == pytest.approx(together[:1], abs=1e-5)


def test_an_outcome_model_gives_log_odds(trained):
    folder = trained("outcome", steps=8, validation={"every": 8, "sequences": None})
    held = rows_of("judged", 16, seed=1)
    scores = open_reward_model(str(folder.path)).score(held["prompt"], held["completion"])
    right = mean([(score > 0) == label for score, label in zip(scores, held["label"], strict=True)])
    assert right == folder.result()["validation"]["accuracy"]


def test_messages_are_scored_as_the_texts_in_them(judge):
    model = open_reward_model(str(judge(**CHAT).path))
    prompt, answer = [{"role": "user", "content": "a cat"}], [{"role": "assistant", "content": "merry"}]
    assert model.score([prompt], [answer]) == model.score(["a cat"], ["merry"])


def test_messages_for_a_model_of_plain_texts_are_refused(judge):
    model = open_reward_model(str(judge().path))
    with pytest.raises(CurateError, match="answer 2 is of a conversation"):
        model.score(["a", [{"role": "user", "content": "a"}]], ["b", "b"])


def test_a_model_of_another_family_is_computed_by_transformers(judge, tmp_path):
    transformers = library("transformers")
    export_run(judge().path, tmp_path / "ours")
    torch.manual_seed(3)
    sizes = {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.GPTNeoXConfig(**sizes, intermediate_size=32, num_labels=1)
    theirs = transformers.GPTNeoXForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_bytes((tmp_path / "ours" / "tokenizer.json").read_bytes())
    model = open_reward_model(str(tmp_path / "theirs"))
    start, end = model.roles["start"], model.roles["end_of_text"]
    for prompt, answer, score in zip(PROMPTS, CHOSEN, model.score(PROMPTS, CHOSEN), strict=True):
        words = [model.tokenizer.encode(text).ids for text in (prompt, answer)]
        with torch.no_grad():
            wanted = theirs.gpt_neox(torch.tensor([[start, *words[0], *words[1], end]])).last_hidden_state[0, -1]
        assert score == pytest.approx((theirs.score(wanted)).item(), abs=1e-5)


def test_a_model_without_a_score_is_refused(trained, tmp_path):
    folder = trained("causal", steps=2)
    with pytest.raises(CurateError, match="was trained for `causal`, and gives no score"):
        open_reward_model(str(folder.path))
    export_run(folder.path, tmp_path / "out")
    with pytest.raises(CurateError, match="gives no score of a text that it reads up to its end"):
        open_reward_model(str(tmp_path / "out"))
    with pytest.raises(CurateError, match="there is no reward model in"):
        open_reward_model(str(tmp_path))


def test_a_reward_model_goes_on_from_one(judge, trained):
    folder = judge()
    more = trained("reward", "more", steps=1, model={"path": str(folder.path)}, optimizer={"learning_rate": 1e-9})
    scores = [open_reward_model(str(path)).score(PROMPTS, CHOSEN) for path in (folder.path, more.path)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
