from __future__ import annotations

import zlib
from dataclasses import replace
from functools import partial

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from curate.train.models.decoder import Decoder
from curate.train.models.families import LLAMA
from curate.train.models.recurrent import Recurrent
from curate.train.objectives.reference import Reference
from curate.train.objectives.reinforcement import Reinforcement
from curate.train.objectives.rollout import CHECK, Continuation, sample
from curate.train.settings.architecture import Architecture
from curate.train.settings.methods import ReinforcementSettings
from tests.oracles import library
from tests.train.forked import call_each

VOCABULARY, END = 20, 0
SIZES = Architecture(layers=2, width=16, heads=2, key_value_heads=1, head_width=8, feed_forward=32)


def filled(trunk):
    """The trunk with weights of deviation 0.5: its distributions are far from even."""
    generator = torch.Generator().manual_seed(3)
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.5, generator=generator)
    return trunk


@pytest.fixture
def trunk():
    return filled(Decoder(SIZES, vocabulary=VOCABULARY, length=64))


def prompts(*texts):
    """Left-padded tokens and documents."""
    length = max(map(len, texts))
    tokens = [[0] * (length - len(text)) + text for text in texts]
    documents = [[-1] * (length - len(text)) + [0] * len(text) for text in texts]
    return torch.tensor(tokens), torch.tensor(documents)


def drawn(rows, count, seed=0):
    return torch.rand(rows, count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def generate(respond, texts, *, new_tokens=10, temperature=1.0, end=END, uniforms=None):
    tokens, documents = prompts(*texts)
    return sample(
        respond, tokens, documents, new_tokens=new_tokens, temperature=temperature, ends=[end], uniforms=uniforms
    )


class Table:
    """Logits that depend on the last token alone, and the number of tokens that it was asked for."""

    def __init__(self, logits):
        self.logits, self.asked = logits, 0

    def __call__(self, tokens, documents):
        self.asked += 1
        return self.logits[tokens[:, -1]]


def test_a_token_is_the_first_whose_cumulative_probability_is_above_the_number():
    table = Table(torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log())
    numbers = torch.tensor([[0.05], [0.15], [0.35], [0.95]], dtype=torch.float64)
    completions, _ = generate(table, [[0]] * 4, new_tokens=1, end=9, uniforms=numbers)
    assert completions[:, 0].tolist() == [0, 1, 2, 3]


def test_impossible_tokens_are_never_drawn():
    table = Table(torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]))
    numbers = torch.tensor([[0.0], [0.5], [1 - 2**-53]], dtype=torch.float64)
    completions, _ = generate(table, [[0]] * 3, new_tokens=1, end=9, uniforms=numbers)
    assert completions[:, 0].tolist() == [1, 3, 3]


def test_drawn_tokens_have_the_frequencies_of_their_probabilities():
    probabilities = torch.tensor([0.05, 0.15, 0.3, 0.5])
    table = Table(probabilities.log()[None])
    completions, _ = generate(table, [[0]] * 4000, new_tokens=1, end=9, uniforms=drawn(4000, 1))
    shares = completions.flatten().bincount(minlength=4) / 4000
    assert shares.tolist() == pytest.approx(probabilities.tolist(), abs=0.02)


def test_a_low_temperature_takes_the_likeliest_token():
    table = Table(torch.tensor([[1.0, 2.0, 3.0]]))
    completions, _ = generate(table, [[0]] * 20, new_tokens=1, end=9, temperature=0.01, uniforms=drawn(20, 1))
    assert (completions == 2).all()


def test_without_numbers_the_likeliest_token_is_taken():
    table = Table(torch.eye(4)[[1, 2, 3, 0]])
    completions, _ = generate(table, [[0], [2]], new_tokens=3, end=9)
    assert completions.tolist() == [[1, 2, 3], [3, 0, 1]]


def test_a_text_ends_with_its_first_end_token():
    table = Table(torch.eye(4)[[1, 2, 3, 0]])
    completions, mask = generate(table, [[0], [2]], new_tokens=4, end=3)
    assert completions.tolist() == [[1, 2, 3, 3], [3, 3, 3, 3]]
    assert mask.tolist() == [[True, True, True, False], [True, False, False, False]]


def test_no_more_tokens_are_asked_for_when_all_texts_have_ended():
    table = Table(torch.eye(4)[[1, 2, 3, 0]])
    generate(table, [[0], [2]], new_tokens=100, end=3)
    assert table.asked == CHECK


class Rereading:
    """The logits of a trunk that reads the whole text again for each token."""

    def __init__(self, trunk):
        self.trunk, self.seen = trunk, None

    def __call__(self, tokens, documents):
        new = (tokens, documents)
        self.seen = new if self.seen is None else tuple(torch.cat(pair, 1) for pair in zip(self.seen, new, strict=True))
        return self.trunk(self.seen[0], documents=self.seen[1])[:, -1] @ self.trunk.unembedding.T


def test_generation_with_a_cache_equals_generation_without(trunk):
    numbers, texts = drawn(3, 10), [[5, 6, 7], [8], [3, 4]]
    found, _ = generate(Continuation(trunk), texts, uniforms=numbers, end=99)
    wanted, _ = generate(Rereading(trunk), texts, uniforms=numbers, end=99)
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "lstm"])
def test_logits_of_a_cache_equal_those_of_the_whole_text(kind):
    if kind == "lstm":
        trunk = filled(Recurrent(SIZES, vocabulary=VOCABULARY, length=64))
    else:
        switches = {"positions": "learned", "norm": "layer", "bias": True} if kind == "gpt2" else {}
        trunk = filled(Decoder(replace(SIZES, **switches), vocabulary=VOCABULARY, length=64))
    tokens, documents = prompts([5, 6, 7, 2, 3], [8, 4])
    respond = Continuation(trunk.eval())
    with torch.no_grad():
        whole = trunk(tokens, documents=documents)[:, 2:] @ trunk.unembedding.T
        steps = [respond(tokens[:, :3], documents[:, :3])]
        steps += [respond(tokens[:, [place]], documents[:, [place]]) for place in (3, 4)]
    found = torch.stack(steps, 1)
    torch.testing.assert_close(found[0], whole[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1, 1:], whole[1, 1:], atol=1e-5, rtol=1e-5)


def test_a_text_does_not_depend_on_the_other_rows(trunk):
    texts, numbers = [[5, 6, 7], [8], [3, 4]], drawn(3, 10)
    together, _ = generate(Continuation(trunk), texts, uniforms=numbers)
    alone, _ = generate(Continuation(trunk), texts[1:2], uniforms=numbers[1:2])
    assert together[1].tolist() == alone[0].tolist()


@pytest.mark.slow
def test_greedy_texts_equal_those_of_transformers():
    transformers = library("transformers")
    sizes = replace(SIZES, tied=False)
    trunk = filled(Decoder(sizes, vocabulary=VOCABULARY, length=64))
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA.config(sizes, VOCABULARY, 64)))
    names = LLAMA.names(sizes)
    theirs.load_state_dict({names[name].name: tensor for name, tensor in trunk.state_dict().items()})
    tokens, documents = prompts([5, 6, 7], [8, 9])
    whole = theirs.generate(
        tokens,
        attention_mask=(documents >= 0).long(),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=END,
        pad_token_id=END,
    )
    found, _ = generate(Continuation(trunk), [[5, 6, 7], [8, 9]], new_tokens=12)
    assert found[:, : whole.shape[1] - 3].tolist() == whole[:, 3:].tolist()


# ---- several processes


def processes(function, size, folder):
    """Call `function(rank, size, folder)` in processes of their own."""
    folder.mkdir()
    call_each(function, [(rank, size, folder) for rank in range(size)])
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(size)]


def agree(rank, size, folder):
    """In process 0 all texts end at once, in process 1 after 19 tokens."""
    from curate.train.parallel.world import joined

    with joined(rank, size, device="cpu", meeting=folder / "meeting"):
        table = Table(torch.eye(20).roll(-1, 0))
        generate(table, [[0]], new_tokens=100, end=19 if rank else 1)
    torch.save(table.asked, folder / f"{rank}.pt")


@pytest.mark.slow
def test_processes_ask_for_as_many_tokens_until_all_texts_have_ended(tmp_path):
    assert processes(agree, 2, tmp_path / "two") == [3 * CHECK, 3 * CHECK]


def seeded(deviation, name, shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode()))) * deviation


def share(rank, size, folder, *, precision="fp32"):
    """One step of reinforcement, and a validation, in one of several processes."""
    from curate.train.parallel.shard import fill, shard_model
    from curate.train.parallel.world import joined
    from curate.train.settings.config import TrainConfig

    config = TrainConfig.model_validate({"dataset": "a", "run": "b", "precision": precision, "processes": size})
    with joined(rank, size, device="cpu", meeting=folder / "meeting") as world:
        with torch.device("meta"):
            policy, began = (Decoder(SIZES, vocabulary=VOCABULARY, length=64) for _ in range(2))
        reference = Reference(began)
        objective = Reinforcement(
            policy,
            ReinforcementSettings(reward="contains", group=4, new_tokens=20, kl=0.3),
            tokenizer=Tokenizer(WordLevel({str(token): token for token in range(VOCABULARY)}, unk_token="0")),
            ends=[END],
            seed=1,
            reference=reference,
        )
        for module, deviation in ((objective, 0.3), (reference, 0.3 if precision == "bf16" else 0.31)):
            shard_model(module, world, config)
            fill(module, world.device, partial(seeded, deviation))
        tokens, documents = prompts([3, 4, 5], [6], [7, 8], [9, 9, 9])
        texts = {"tokens": tokens, "documents": documents, "answers": tokens[:, -1:], "samples": torch.arange(4)}
        mine = {name: values[rank::size] for name, values in texts.items()}
        batch = objective.prepare(mine, step=0)
        (count,) = world.total(objective.size(batch))
        loss = objective(batch)
        (loss.total * (world.readers / count)).backward()
        gradients = {name: parameter.grad.full_tensor() for name, parameter in objective.named_parameters()}
        with torch.no_grad():
            scores = {name: world.sum(value) for name, value in objective.score(mine).items()}
        objective.close()
    found = {"batch": batch, "gradients": gradients, "score": objective.summary(scores), "sums": loss.sums}
    torch.save(found, folder / f"{rank}.pt")


@pytest.mark.slow
def test_two_processes_sample_and_learn_what_one_does(tmp_path):
    (one,) = processes(share, 1, tmp_path / "one")
    two = processes(share, 2, tmp_path / "two")
    for rank in range(2):
        rows = one["batch"]["samples"] // 4 % 2 == rank
        assert torch.equal(two[rank]["batch"]["targets"], one["batch"]["targets"][rows])
        torch.testing.assert_close(two[rank]["batch"]["references"], one["batch"]["references"][rows])
        torch.testing.assert_close(two[rank]["gradients"], one["gradients"], rtol=1e-3, atol=1e-5)
    assert two[0]["score"] == two[1]["score"] == pytest.approx(one["score"])


def share_in_bfloat16(rank, size, folder):
    share(rank, size, folder, precision="bf16")


@pytest.mark.slow
def test_log_probabilities_are_not_rounded_to_the_precision_of_the_computation(tmp_path):
    (found,) = processes(share_in_bfloat16, 1, tmp_path / "one")
    assert found["batch"]["references"].dtype == torch.float32
    assert found["sums"]["divergence"].item() == pytest.approx(0, abs=1e-6)
