"""Documents with their middle last: nothing is lost but the end of a suffix, and a model learns to fill in."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.train.data.batch import IGNORED
from curate.train.data.middle import FillTokens, rearranged
from curate.train.objectives.language import Causal
from curate.train.settings.methods import CausalSettings
from tests.train.language_models import TEXT, decoder

SPECIAL = FillTokens(prefix=101, suffix=102, middle=103, start=100, end=0)
LENGTH = 24


def window(sizes, length=LENGTH):
    """Tokens and targets of a window of documents with so many tokens each, the last one cut where the window ends."""
    stream = [
        token for nth, size in enumerate(sizes) for token in [*range(10 * nth + 1, 10 * nth + size + 1), SPECIAL.end]
    ]
    targets = np.full((1, length), IGNORED)
    targets[0, : len(stream[:length])] = stream[:length]
    tokens = np.full((1, length), SPECIAL.end)
    tokens[0, 1:] = np.where(targets[0, :-1] == IGNORED, SPECIAL.end, targets[0, :-1])
    tokens[tokens == SPECIAL.end] = SPECIAL.start
    return tokens, targets


def documents(targets):
    """Each document's targets in a window, without those that do not count."""
    row = targets[0][targets[0] != IGNORED]
    borders = [0, *(np.flatnonzero(row == SPECIAL.end) + 1).tolist(), len(row)]
    return [row[a:b].tolist() for a, b in pairwise(borders) if b > a]


def put_back(made):
    """A rearranged document's text, and whether its suffix stands first."""
    suffix, middle = made.index(SPECIAL.suffix), made.index(SPECIAL.middle)
    assert made[0] == SPECIAL.prefix
    assert made[-1] == SPECIAL.end
    if suffix == 1:
        return made[middle + 1 : -1] + made[2:middle], True
    return made[1:suffix] + made[middle + 1 : -1] + made[suffix + 1 : middle], False


@limits(max_examples=80, derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_document_is_whole_again_when_its_parts_are_put_back_but_for_the_end_of_its_suffix(sizes, seed, suffix_first):
    tokens, targets = window(sizes)
    draws = np.random.default_rng(seed).random((1, 4 * LENGTH))
    made_tokens, made = rearranged(tokens, targets, draws, share=0.5, suffix_first=suffix_first, special=SPECIAL)
    assert ((made != IGNORED) == (targets != IGNORED)).all()
    before, begin = documents(targets), 0
    assert sum(map(len, before)) == (targets != IGNORED).sum()
    for text in before:
        now = made[0, begin : begin + len(text)].tolist()
        assert made_tokens[0, begin + 1 : begin + len(text)].tolist() == now[:-1]
        if now != text:
            again, first = put_back(now)
            whole = [token for token in text if token != SPECIAL.end]
            assert again == whole[: len(again)]
            assert len(whole) - len(again) in (3, 4)  # four where the window has not the document's end
            assert made_tokens[0, begin] == SPECIAL.start
            assert first or suffix_first < 1  # of an empty prefix both ways are one
        else:
            assert made_tokens[0, begin] == tokens[0, begin]
        begin += len(text)


def test_as_many_documents_as_were_asked_for_are_rearranged_and_cut_anywhere():
    tokens, targets = (np.repeat(one, 4000, axis=0) for one in window([9, 9]))
    draws = np.random.default_rng(1).random((4000, 4 * LENGTH))
    _, made = rearranged(tokens, targets, draws, share=0.3, suffix_first=0.5, special=SPECIAL)
    chosen = made[:, 0] == SPECIAL.prefix
    assert abs(chosen.mean() - 0.3) < 0.02
    assert abs((made[:, 10] == SPECIAL.prefix).mean() - 0.3) < 0.02
    middles = [row[row.index(SPECIAL.middle) + 1 : 9] for row in made[chosen].tolist() if row[1] != SPECIAL.suffix]
    assert {len(middle) for middle in middles} == set(range(6))  # where the prefix is not empty


def test_a_step_draws_anew_and_validation_reads_texts_as_they_are():
    tokens, targets = (torch.from_numpy(np.repeat(one, 16, axis=0)) for one in window([9, 9]))
    settings = CausalSettings(fill_in_the_middle=1.0)
    objective = Causal(decoder(), settings, **TEXT, fill=SPECIAL, seed=3)
    batch = {"tokens": tokens, "targets": targets, "samples": torch.arange(16)}
    first, again = objective.prepare(batch, step=0), objective.prepare(batch, step=7)
    assert torch.equal(first["targets"], again["targets"])  # by the sample alone
    assert not torch.equal(
        first["targets"], objective.prepare({**batch, "samples": torch.arange(16, 32)}, step=0)["targets"]
    )
    assert (first["targets"][:, 0] == SPECIAL.prefix).all()
    assert objective.prepare(batch, step=-1) is batch
    assert Causal(decoder(), CausalSettings(), **TEXT).prepare(batch, step=0) is batch


FILLED = """
dataset: gaps
run: filled
model: {layers: 1, width: 32, heads: 2}
tokenizer: {vocabulary: 260}
objective: {kind: causal, fill_in_the_middle: 0.9}
batch: {sequences: 4, length: 48}
steps: 2
validation: {every: 2}
"""


@pytest.mark.slow
def test_a_model_is_asked_as_it_was_trained_and_a_text_without_room_is_refused(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from curate.cli import app
    from curate.evaluation.generate import Speaker
    from curate.evaluation.models.generation import Sampling
    from curate.evaluation.models.opened import open_model

    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text(
        "\n".join(f'{{"text": "a text with the number {number}"}}' for number in range(40))
    )
    (tmp_path / "p.yaml").write_text(
        "dataset: gaps\nsources: [{stage: files, paths: [in.jsonl]}]\nstages: [{stage: split}]\n"
    )
    (tmp_path / "t.yaml").write_text(FILLED)
    run = CliRunner().invoke
    for command in (["run", "p.yaml", "--workers", "1"], ["train", "t.yaml"]):
        assert run(app, command).exit_code == 0
    model = open_model(str(tmp_path / "runs" / "filled"))
    speaker = Speaker.of(model, plain=False, system=None, most=4, stop=[], sampling=Sampling(0), suffix="cd")
    names = [model.tokenizer.id_to_token(token) for token in speaker.encode(["ab"])[0]]
    assert names == ["<|endoftext|>", "<|fim_prefix|>", "a", "b", "<|fim_suffix|>", "c", "d", "<|fim_middle|>"]
    logits = model.respond()(torch.tensor([[5, 6]]), torch.ones(1, 2, dtype=torch.bool))
    never = [model.tokenizer.token_to_id(name) for name in names if "fim" in name]
    assert logits[0].isinf().nonzero().flatten().tolist() == sorted(never)  # they are no part of a text
    assert run(app, ["generate", "filled", "ab", "--suffix", "cd", "--new-tokens", "4"]).exit_code == 0
    refused = run(app, ["generate", "filled", "a" * 60, "--suffix", "b", "--new-tokens", "4"])
    assert "the text around the gap has 65 tokens" in str(refused.exception)


def test_a_tokenizer_without_tokens_for_a_middle_is_refused():
    from tokenizers import AddedToken, Tokenizer, models

    from curate.tokenize.roles import FILL, fill_roles, require, roles

    plain = Tokenizer(models.BPE())
    plain.add_special_tokens(["<|endoftext|>"])
    assert fill_roles(plain) == {}
    plain.add_tokens(
        [AddedToken("<|fim_prefix|>"), AddedToken("<|fim_suffix|>"), AddedToken("<|fim_middle|>")]
    )  # as Qwen 2.5
    assert [roles(plain)[role] for role in FILL] == [1, 2, 3]
    with pytest.raises(CurateError, match="no special token for: fim_prefix, fim_suffix, fim_middle"):
        require(FILL, {"end_of_text": 0}, Path("tokenizer.json"))
