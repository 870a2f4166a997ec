from __future__ import annotations

import math
import weakref
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from curate.errors import CurateError
from curate.train.data.batch import IGNORED
from curate.train.models.decoder import Decoder
from curate.train.models.encoder import BERT, Encoder
from curate.train.models.recurrent import Recurrent
from curate.train.objectives.language import Causal, Masked, MultiToken, one_by_one, shifted
from curate.train.settings.architecture import Architecture, ModelSettings
from curate.train.settings.methods import CausalSettings, MaskedSettings, MultiTokenSettings

SIZES = Architecture(layers=2, width=32, heads=2, key_value_heads=1, head_width=16, feed_forward=64)
VOCABULARY, LENGTH, END = 60, 24, 0
BYTES = np.arange(VOCABULARY) % 5


def filled(objective, seed=0):
    """With its first weights, ten times as large, so that no loss is near that of guessing."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in objective.named_parameters():
        objective.first_weights(name, parameter.data, generator)
        if parameter.ndim > 1:
            parameter.data *= 10
    return objective


@pytest.fixture
def batch():
    """Three rows of documents of 8 tokens; ends of text and targets that do not count among the targets."""
    tokens = torch.randint(1, VOCABULARY, (3, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    tokens[:, ::8] = END
    targets = tokens[:, 1:].clone()
    targets[2, 20:] = IGNORED
    documents = torch.arange(LENGTH).div(8, rounding_mode="floor").repeat(3, 1)
    return {"tokens": tokens[:, :-1], "targets": targets, "documents": documents, "samples": torch.arange(3)}


def decoder(**sizes):
    return Decoder(Architecture(**{**{name: getattr(SIZES, name) for name in SIZES.__slots__}, **sizes}), **WORDS)


WORDS = {"vocabulary": VOCABULARY, "length": LENGTH}
TEXT = {"token_bytes": BYTES, "end_of_text": END}


def gradients(objective, total):
    objective.zero_grad()
    total.backward()
    return {name: parameter.grad.clone() for name, parameter in objective.named_parameters()}


# ---- the next token


@pytest.fixture
def causal():
    return filled(Causal(decoder(), CausalSettings(z_loss=0.01), **TEXT))


def causal_reference(causal, batch, weights):
    logits = causal.model(batch["tokens"], documents=batch["documents"]) @ causal.model.unembedding.T
    losses = functional.cross_entropy(logits.transpose(1, 2), batch["targets"], reduction="none")
    squares = logits.logsumexp(-1).square() * (batch["targets"] != IGNORED)
    return ((losses + 0.01 * squares) * weights).sum()


def test_causal_loss_and_gradients_are_those_of_weighted_cross_entropy_and_z_loss(causal, batch):
    weights = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(2))
    found = causal({**batch, "weights": weights}).total
    wanted = causal_reference(causal, batch, weights)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients(causal, found), gradients(causal, wanted), rtol=1e-5, atol=1e-4)


def test_a_weight_of_a_row_counts_for_all_its_targets(causal, batch):
    rows = torch.tensor([0.5, 0.0, 2.0])
    found = causal({**batch, "weights": rows})
    wanted = causal({**batch, "weights": rows[:, None].expand(3, LENGTH)})
    torch.testing.assert_close(found.total, wanted.total)
    assert causal.size({**batch, "weights": rows}) == 0.5 * LENGTH + 2 * 20


@torch.no_grad()
def test_bits_per_byte_are_those_of_the_text_without_ends_of_documents(causal, batch):
    logits = causal.model(batch["tokens"], documents=batch["documents"]) @ causal.model.unembedding.T
    targets = batch["targets"].masked_fill(batch["targets"] == END, IGNORED)
    nats = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    counted = targets[targets != IGNORED].numpy()
    found = causal.summary(causal.score(batch))
    assert found == {
        "bits_per_byte": pytest.approx(nats / math.log(2) / BYTES[counted].sum(), rel=1e-6),
        "loss": pytest.approx(nats / len(counted), rel=1e-6),
        "perplexity": pytest.approx(math.exp(nats / len(counted)), rel=1e-5),
        "tokens": len(counted),
        "bytes": int(BYTES[counted].sum()),
    }
    assert causal.watch == "bits_per_byte"


@torch.no_grad()
def test_without_bytes_of_tokens_the_loss_is_watched(batch):
    causal = filled(Causal(decoder(), CausalSettings(), token_bytes=None, end_of_text=END))
    assert causal.watch == "loss"
    assert set(causal.summary(causal.score(batch))) == {"loss", "perplexity", "tokens"}


@torch.no_grad()
def test_scores_of_batches_add_up(causal, batch):
    rows = [{name: values[row : row + 1] for name, values in batch.items()} for row in range(3)]
    scores = [causal.score(row) for row in rows]
    added = {name: sum(score[name] for score in scores) for name in scores[0]}
    assert causal.summary(added) == pytest.approx(causal.summary(causal.score(batch)), rel=1e-6)


@torch.no_grad()
def test_rows_without_targets_score_nothing(causal, batch):
    empty = {**batch, "targets": torch.full_like(batch["targets"], IGNORED)}
    assert {name: value.item() for name, value in causal.score(empty).items()} == {"nats": 0, "tokens": 0, "bytes": 0}
    assert causal.summary(causal.score(empty))["bits_per_byte"] == 0


def test_an_lstm_is_a_language_model_too(batch):
    causal = filled(Causal(Recurrent(SIZES, **WORDS), CausalSettings(), **TEXT))
    causal(batch).total.backward()
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in causal.named_parameters() if "bias" not in name)


# ---- hidden tokens

MASK, SPECIAL = 1, (END, 1, 2)


def bert(**settings):
    sizes = ModelSettings(kind="encoder", layers=2, width=32, heads=2).architecture
    return Masked(
        Encoder(sizes, **WORDS),
        MaskedSettings(**settings),
        vocabulary=VOCABULARY,
        mask_token=MASK,
        special_tokens=SPECIAL,
        seed=7,
    )


@pytest.fixture
def masked():
    return filled(bert()).eval()


@pytest.fixture
def many():
    """2,000 rows of 50 ordinary tokens and 10 special ones, and the last row is padding."""
    tokens = torch.randint(3, VOCABULARY, (2000, 60), generator=torch.Generator().manual_seed(3))
    tokens[:, ::6] = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    documents = torch.zeros_like(tokens)
    documents[-1] = -1
    return {"tokens": tokens, "targets": tokens, "documents": documents, "samples": torch.arange(2000)}


@pytest.mark.slow
def test_masked_loss_and_gradients_are_those_of_bert(masked, batch):
    from transformers import BertConfig, BertForMaskedLM

    sizes = masked.model.sizes
    theirs = BertForMaskedLM(BertConfig(**BERT.config(sizes, VOCABULARY, LENGTH), pad_token_id=None)).eval()
    names = {f"model.{ours}": source.name for ours, source in BERT.names(sizes).items() if "pooler" not in ours}
    names |= {f"head.{ours}": source.name for ours, source in BERT.heads("masked", sizes).items()}
    weights = {its: masked.state_dict()[ours] for ours, its in names.items()}
    theirs.load_state_dict(weights, strict=False)
    theirs.tie_weights()
    prepared = masked.prepare({**batch, "documents": torch.zeros_like(batch["tokens"])}, step=0)
    found = masked(prepared).total / masked.size(prepared)
    wanted = theirs(input_ids=prepared["tokens"], labels=prepared["targets"]).loss
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    wanted.backward()
    found = gradients(masked, found)
    for ours, its in names.items():
        torch.testing.assert_close(found[ours], theirs.get_parameter(its).grad, rtol=1e-4, atol=1e-6, msg=ours)


def test_of_the_text_15_percent_are_predicted_and_of_these_80_masked_10_replaced_and_10_left(masked, many):
    prepared = masked.prepare(many, step=5)
    before, after, chosen = many["tokens"], prepared["tokens"], prepared["targets"] != IGNORED
    count = int(chosen.sum())
    hidden = (after == MASK) & chosen
    replaced = (after != before) & ~hidden
    assert torch.equal(prepared["targets"][chosen], before[chosen])
    assert torch.equal(after[~chosen], before[~chosen])
    shares = count / (1999 * 50), hidden.sum() / count, replaced.sum() / count
    # within 4 deviations; a 57th of the replaced tokens is replaced by itself
    wanted = (0.15, 0.8, 0.1 * 56 / 57)
    for found, share, of in zip(shares, wanted, (1999 * 50, count, count), strict=True):
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / of)


def test_replacements_are_uniform_over_ordinary_tokens(masked, many):
    prepared = masked.prepare(many, step=5)
    replaced = (prepared["tokens"] != many["tokens"]) & (prepared["tokens"] != MASK)
    counts = Counter(prepared["tokens"][replaced].tolist())
    assert set(counts) == set(range(3, VOCABULARY))
    expected = replaced.sum().item() / 57
    chi_square = sum((counts[token] - expected) ** 2 / expected for token in range(3, VOCABULARY))
    assert chi_square < 95  # 56 degrees of freedom: above it in one of 1,000 cases


def test_special_tokens_and_padding_are_never_hidden(masked, many):
    chosen = masked.prepare(many, step=5)["targets"] != IGNORED
    assert not chosen[torch.isin(many["tokens"], torch.tensor(SPECIAL))].any()
    assert not chosen[-1].any()


def test_a_mask_is_a_function_of_seed_and_sample(masked, many):
    rows = {name: values[10:20] for name, values in many.items()}
    whole, part = masked.prepare(many, step=5), masked.prepare(rows, step=6)
    assert torch.equal(part["tokens"], whole["tokens"][10:20])
    another_epoch = masked.prepare({**many, "samples": many["samples"] + 2000}, step=9)
    assert not torch.equal(another_epoch["tokens"], whole["tokens"])


def test_masks_of_validation_are_the_same_for_every_seed(masked, many):
    other = bert()
    other.seed = 8
    assert not torch.equal(masked.prepare(many, step=0)["tokens"], other.prepare(many, step=0)["tokens"])
    assert torch.equal(masked.prepare(many, step=-1)["tokens"], other.prepare(many, step=-1)["tokens"])


@torch.no_grad()
def test_validation_gives_loss_accuracy_and_perplexity_of_hidden_tokens(masked, batch):
    prepared = masked.prepare(batch, step=-1)
    states = masked.head(masked.model(prepared["tokens"], documents=batch["documents"]))
    logits = states @ masked.model.unembedding.T + masked.head.bias
    chosen = prepared["targets"] != IGNORED
    loss = functional.cross_entropy(logits[chosen], prepared["targets"][chosen]).item()
    assert masked.summary(masked.score(prepared)) == {
        "loss": pytest.approx(loss, rel=1e-6),
        "accuracy": pytest.approx((logits[chosen].argmax(-1) == prepared["targets"][chosen]).float().mean().item()),
        "masked_perplexity": pytest.approx(math.exp(loss), rel=1e-5),
        "tokens": int(chosen.sum()),
    }


def test_masks_of_other_trunks_need_no_head(batch):
    trunk = Recurrent(
        Architecture(**{**{n: getattr(SIZES, n) for n in SIZES.__slots__}, "bidirectional": True}), **WORDS
    )
    settings = {"vocabulary": VOCABULARY, "mask_token": MASK, "special_tokens": SPECIAL, "seed": 0}
    masked = filled(Masked(trunk, MaskedSettings(), **settings))
    assert masked.head is None
    assert masked(masked.prepare(batch, step=0)).total > 0


def test_a_step_without_a_hidden_token_has_no_loss_and_zero_gradients(masked, batch):
    empty = {**batch, "targets": torch.full_like(batch["targets"], IGNORED)}
    total = masked(empty).total
    assert total.item() == 0
    assert not any(gradient.any() for gradient in gradients(masked, total).values())


# ---- several next tokens


def multi_token(heads=3, **sizes):
    return filled(MultiToken(decoder(**sizes), MultiTokenSettings(heads=heads), **TEXT))


def plain(objective, batch):
    """The same with all heads and all logits at once."""
    model, total = objective.model, 0.0
    states, turn, mask = model.begin(batch["tokens"], documents=batch["documents"])
    for block in model.blocks:
        states = block(states, turn, mask)
    for number, head in enumerate(objective.heads):
        logits = model.norm(head(states, turn, mask)) @ model.unembedding.T
        for row in range(len(logits)):
            for place in range(LENGTH - number):
                target = batch["targets"][row, place + number]
                if target != IGNORED and batch["documents"][row, place + number] == batch["documents"][row, place]:
                    total = total + functional.cross_entropy(logits[row, place], target)
    return total


@pytest.mark.parametrize("tied", [True, False])
def test_multi_token_loss_and_gradients_are_those_of_all_heads_at_once(batch, tied):
    objective = multi_token(tied=tied)
    found, wanted = objective(batch).total * 0.25, plain(objective, batch) * 0.25
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients(objective, found), gradients(objective, wanted), rtol=1e-4, atol=1e-5)


def test_a_head_has_no_target_in_another_document_or_row():
    targets, documents = torch.tensor([[1, 2, 3, 4, 5, 6]]), torch.tensor([[0, 0, 0, 1, 1, -1]])
    none = IGNORED
    found, weights = shifted({"targets": targets, "documents": documents, "weights": torch.tensor([0.5])}, 1)
    assert found.tolist() == [2, 3, none, 5, none, none]
    assert weights.tolist() == [0.5, 0.5, 0.5, 0.5, 0.5, 0.0]
    assert shifted({"targets": targets}, 2)[0].tolist() == [3, 4, 5, 6, none, none]


def test_weights_are_those_of_the_targets():
    batch = {"targets": torch.tensor([[1, 2, 3]]), "weights": torch.tensor([[0.1, 0.2, 0.3]])}
    torch.testing.assert_close(shifted(batch, 1)[1], torch.tensor([0.2, 0.3, 0.0]))


@torch.no_grad()
def test_the_first_head_is_validated_as_a_decoder_with_one_more_block(batch):
    objective = multi_token()
    whole = filled(Causal(decoder(layers=3), CausalSettings(), **TEXT))
    weights = {name: value for name, value in objective.state_dict().items() if not name.startswith("heads.")}
    first = {name: value for name, value in objective.state_dict().items() if name.startswith("heads.0.")}
    whole.load_state_dict(weights | {name.replace("heads.0", "model.blocks.2"): value for name, value in first.items()})
    found, wanted = objective.summary(objective.score(batch)), whole.summary(whole.score(batch))
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-6)
    assert set(found) - set(wanted) == {"loss_2", "loss_3"}
    assert objective.watch == "bits_per_byte"


def test_the_first_weights_of_heads_are_those_of_blocks():
    objective = MultiToken(decoder(), MultiTokenSettings(heads=2), **TEXT)
    values = []
    for name in ("model.blocks.1.attention.output.weight", "heads.1.attention.output.weight"):
        objective.first_weights(name, objective.get_parameter(name).data, torch.Generator().manual_seed(0))
        values.append(objective.get_parameter(name))
    assert torch.equal(*values)


class Held(TorchDispatchMode):
    """Counts the bytes of the tensors that were made and not yet freed; `most` of them at once."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage() not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, storage.nbytes())
        self.most = max(self.most, self.now)
        return made

    def free(self, size):
        self.now -= size


def most_held(heads, *, at_once=False):
    states = torch.randn(4096, 32, requires_grad=True)
    layers = [torch.nn.Sequential(*(torch.nn.Linear(32, 32) for _ in range(4))) for _ in range(heads)]

    def loss(number, states):
        return layers[number](states).exp().sum()

    with Held() as held:
        if at_once:
            total = sum(loss(number, states) for number in range(heads))
        else:
            total, _ = one_by_one(loss, heads, states, [weight for layer in layers for weight in layer.parameters()])
        total.backward()
    return held.most


def test_four_heads_hold_little_more_memory_than_one():
    one, four, four_at_once = most_held(1), most_held(4), most_held(4, at_once=True)
    assert four < 1.3 * one
    assert four_at_once > 2.5 * one


def test_a_multi_token_model_with_four_heads_holds_little_more_than_with_two():
    tokens = torch.randint(0, VOCABULARY, (32, LENGTH))
    most = []
    for heads in (2, 4):
        objective = multi_token(heads)
        with Held() as held:
            objective({"tokens": tokens, "targets": tokens}).total.backward()
        most.append(held.most)
    assert most[1] < 1.3 * most[0]


def test_heads_work_inside_fsdps_root(batch):
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    from curate.train.parallel.world import joined

    objective = multi_token()
    wanted = gradients(objective, objective(batch).total)
    objective.zero_grad()
    with joined(0, 1, device="cpu"):
        for module in (*objective.model.blocks, objective):
            fully_shard(module)
        for _ in range(2):
            objective(batch).total.backward()
        for name, parameter in objective.named_parameters():
            assert isinstance(parameter.grad, DTensor)
            torch.testing.assert_close(parameter.grad.full_tensor(), 2 * wanted[name], rtol=1e-5, atol=1e-5)


def test_frozen_parameters_get_no_gradients(batch):
    objective = multi_token()
    objective.model.requires_grad_(False)
    objective(batch).total.backward()
    assert all(
        (parameter.grad is None) == name.startswith("model.") for name, parameter in objective.named_parameters()
    )


def test_several_next_tokens_need_a_decoder():
    with pytest.raises(CurateError, match="`multi_token` adds layers to a decoder"):
        MultiToken(Recurrent(SIZES, **WORDS), MultiTokenSettings(), **TEXT)
