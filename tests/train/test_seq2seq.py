from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional

from curate.train.data.batch import IGNORED
from curate.train.models.encoder_decoder import T5, EncoderDecoder
from curate.train.models.generate import translate
from curate.train.objectives.seq2seq import Seq2Seq
from curate.train.settings.architecture import ModelSettings
from curate.train.settings.methods import Seq2SeqSettings

SIZES = ModelSettings(kind="encoder_decoder", layers=2, width=32, heads=2, tied=True).architecture
VOCABULARY, START, END = 40, 0, 1


def filled(vocabulary=VOCABULARY, **settings):
    objective = Seq2Seq(EncoderDecoder(SIZES, vocabulary=vocabulary, length=32), Seq2SeqSettings(**settings))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in objective.named_parameters():
        objective.first_weights(name, parameter.data, generator)
    return objective.eval()


@pytest.fixture
def objective():
    return filled()


@pytest.fixture
def batch():
    """Three sources of different lengths and their targets, each with its end."""
    generator = torch.Generator().manual_seed(1)
    lengths, places = torch.tensor([[9], [12], [5]]), torch.arange(12)
    targets = torch.randint(2, VOCABULARY, (3, 8), generator=generator)
    targets[0, 7], targets[1, 4], targets[2, 6] = END, END, END
    targets[1, 5:], targets[2, 7:] = IGNORED, IGNORED
    return {
        "tokens": torch.randint(2, VOCABULARY, (3, 12), generator=generator),
        "documents": torch.where(places < lengths, 0, -1),
        "inputs": functional.pad(targets[:, :-1], (1, 0), value=START).clamp(min=0),
        "targets": targets,
    }


def t5(objective, vocabulary=VOCABULARY):
    """Hugging Face's model with the objective's weights, and its names for them."""
    from transformers import T5Config, T5ForConditionalGeneration

    special = {"pad_token_id": START, "decoder_start_token_id": START, "eos_token_id": END}
    theirs = T5ForConditionalGeneration(T5Config(**T5.config(SIZES, vocabulary, 32), **special)).eval()
    names = {ours: source.name for ours, source in T5.names(SIZES).items()}
    theirs.load_state_dict({its: objective.model.state_dict()[ours] for ours, its in names.items()}, strict=False)
    theirs.tie_weights()
    return theirs, names


@pytest.mark.slow
def test_loss_and_gradients_are_those_of_t5(objective, batch):
    theirs, names = t5(objective)
    mask = (batch["documents"] >= 0).long()
    found = objective(batch).total / objective.size(batch)
    wanted = theirs(input_ids=batch["tokens"], attention_mask=mask, labels=batch["targets"]).loss
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    found.backward()
    wanted.backward()
    for ours, its in names.items():
        found, wanted = objective.model.get_parameter(ours).grad, theirs.get_parameter(its).grad
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6, msg=ours)


def test_label_smoothing_and_weights_are_those_of_cross_entropy(batch):
    objective = filled(label_smoothing=0.1)
    weights = torch.tensor([1.0, 0.5, 2.0])
    states = objective.model(batch["tokens"], documents=batch["documents"], inputs=batch["inputs"])
    logits = (states @ objective.model.unembedding.T).transpose(1, 2)
    losses = functional.cross_entropy(logits, batch["targets"], reduction="none", label_smoothing=0.1)
    wanted = (losses * weights[:, None]).sum()
    found = objective({**batch, "weights": weights}).total
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    parameters = list(objective.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(found, parameters), torch.autograd.grad(wanted, parameters), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_validation_gives_loss_without_smoothing_perplexity_and_accuracy(batch):
    objective = filled(label_smoothing=0.1)
    states = objective.model(batch["tokens"], documents=batch["documents"], inputs=batch["inputs"])
    logits, targets = (states @ objective.model.unembedding.T).flatten(0, 1), batch["targets"].flatten()
    loss = functional.cross_entropy(logits, targets).item()
    assert objective.summary(objective.score(batch)) == {
        "loss": pytest.approx(loss, rel=1e-6),
        "perplexity": pytest.approx(math.exp(loss), rel=1e-5),
        "accuracy": pytest.approx((logits.argmax(-1) == targets).sum().item() / 20),
        "tokens": 20,
    }


# ---- targets that the model writes


def sources(count, vocabulary, seed):
    """Random sources of 2 to 8 tokens, and where they are."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 9, (count, 1), generator=generator)
    documents = torch.where(torch.arange(8) < lengths, 0, -1)
    return torch.randint(2, vocabulary, (count, 8), generator=generator), documents


def copier(vocabulary=12, steps=40):
    """A model that has begun to learn to copy, so that ends come at many places and no target is sure."""
    objective = filled(vocabulary=vocabulary)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.005)
    for step in range(steps):
        tokens, documents = sources(64, vocabulary, step)
        targets = functional.pad(tokens.masked_fill(documents < 0, IGNORED), (0, 1), value=IGNORED)
        targets[range(64), (documents >= 0).sum(1)] = END
        inputs = functional.pad(targets[:, :-1], (1, 0), value=START).clamp(min=0)
        batch = {"tokens": tokens, "documents": documents, "inputs": inputs, "targets": targets}
        optimizer.zero_grad()
        (objective(batch).total / objective.size(batch)).backward()
        optimizer.step()
    return objective


@pytest.fixture(scope="module")
def learned():
    return copier()


@pytest.fixture
def asked():
    tokens, documents = sources(24, 12, 1000)
    return {"tokens": tokens, "documents": documents}


@torch.no_grad()
def scored(objective, tokens, documents, targets):
    """Log-probabilities of some targets of one source, each read in one piece."""
    longest = max(map(len, targets))
    padded = torch.tensor([[*target, *[END] * (longest - len(target))] for target in targets])
    sources = [some.expand(len(targets), -1) for some in (tokens, documents)]
    states = objective.model(
        sources[0], documents=sources[1], inputs=functional.pad(padded[:, :-1], (1, 0), value=START)
    )
    scores = (states @ objective.model.unembedding.T).log_softmax(-1).gather(2, padded[..., None])[..., 0]
    return [scores[row, : len(target)].sum().item() for row, target in enumerate(targets)]


def settings(**others):
    return {"start": START, "end": END, "most": 10, **others}


def untrimmed(found, most):
    return functional.pad(found, (0, most - found.shape[1]), value=END)


@torch.no_grad()
def test_the_likeliest_token_each_time_is_that_of_the_whole_target_without_memory(learned, asked):
    found = translate(learned.model, asked["tokens"], asked["documents"], **settings())
    inputs = torch.full((24, 1), START)
    for _ in range(found.shape[1]):
        states = learned.model(asked["tokens"], documents=asked["documents"], inputs=inputs)
        inputs = torch.cat((inputs, (states[:, -1:] @ learned.model.unembedding.T).argmax(-1)), 1)
    for row, wanted in zip(found.tolist(), inputs[:, 1:].tolist(), strict=True):
        end = wanted.index(END) if END in wanted else len(wanted)
        assert row == wanted[:end] + [END] * (len(row) - end)


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 2, 3, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_targets_are_those_that_transformers_generates(learned, asked, beams, length_penalty):
    theirs, _ = t5(learned, 12)
    mask = (asked["documents"] >= 0).long()
    search = {"num_beams": beams, "length_penalty": length_penalty, "early_stopping": False} if beams > 1 else {}
    wanted = theirs.generate(
        input_ids=asked["tokens"], attention_mask=mask, max_new_tokens=10, do_sample=False, **search
    )[:, 1:]
    search = {"beams": beams, "length_penalty": length_penalty}
    found = translate(learned.model, asked["tokens"], asked["documents"], **settings(**search))
    ends = [row.index(END) if END in row else len(row) for row in found.tolist()]
    assert len(set(ends)) >= 3
    for row, other in zip(untrimmed(found, 10).tolist(), wanted.tolist(), strict=True):
        end = other.index(END) if END in other else len(other)
        assert row == other[:end] + [END] * (10 - end)


def test_a_search_with_beams_for_all_beginnings_finds_the_best_of_all_targets():
    objective = copier(vocabulary=4, steps=5)
    tokens, documents = sources(6, 4, 1000)
    words = [0, 2, 3]
    ended = [(*some, END) for length in range(4) for some in itertools.product(words, repeat=length)]
    candidates = [*ended, *itertools.product(words, repeat=4)]
    found = untrimmed(translate(objective.model, tokens, documents, **settings(beams=81, most=4)), 4)
    for row in range(6):
        scores = scored(objective, tokens[row], documents[row], candidates)
        _, best = max((score / len(target), target) for score, target in zip(scores, candidates, strict=True))
        assert found[row].tolist() == [*best, *[END] * (4 - len(best))]


def test_more_beams_find_targets_at_least_as_likely(learned, asked):
    totals = []
    for beams in (1, 2, 8):
        search = settings(beams=beams, length_penalty=0.0)
        total = 0.0
        found = translate(learned.model, asked["tokens"], asked["documents"], **search)
        for row, target in enumerate(found.tolist()):
            whole = target[: target.index(END) + 1] if END in target else target
            total += scored(learned, asked["tokens"][row], asked["documents"][row], [whole])[0]
        totals.append(total)
    assert totals[0] < totals[1] < totals[2]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_target_does_not_depend_on_the_sources_beside_it(learned, asked, beams):
    tokens, documents = asked["tokens"], asked["documents"]
    together = untrimmed(translate(learned.model, tokens, documents, **settings(beams=beams)), 10)
    for row in range(6):
        length = int((documents[row] >= 0).sum())
        alone = translate(learned.model, tokens[row : row + 1, :length], **settings(beams=beams))
        assert untrimmed(alone, 10)[0].tolist() == together[row].tolist()


def test_a_target_has_at_most_as_many_tokens_as_are_allowed(learned, asked):
    for beams in (1, 3):
        found = translate(learned.model, asked["tokens"], asked["documents"], **settings(beams=beams, most=3))
        assert found.shape == (24, 3)


def test_dropout_is_off_while_it_generates_and_on_again_afterwards(asked):
    sizes = ModelSettings(kind="encoder_decoder", layers=1, width=16, heads=2, dropout=0.5).architecture
    model = EncoderDecoder(sizes, vocabulary=12, length=8).train()
    found = translate(model, asked["tokens"], asked["documents"], **settings())
    assert model.training
    assert torch.equal(found, translate(model.eval(), asked["tokens"], asked["documents"], **settings()))
