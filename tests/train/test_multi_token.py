"""Several next tokens, a head for each: loss, weights, and the memory that the heads hold."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from curate.errors import CurateError
from curate.train.data.batch import IGNORED
from curate.train.models.recurrent import Recurrent
from curate.train.objectives.language import Causal, MultiToken, one_by_one, shifted
from curate.train.settings.methods import CausalSettings, MultiTokenSettings
from tests.train.language_models import LENGTH, SIZES, TEXT, VOCABULARY, WORDS, decoder, filled, gradients, three_rows


@pytest.fixture
def batch():
    return three_rows()


def multi_token(heads=3, **sizes):
    return filled(MultiToken(decoder(**sizes), MultiTokenSettings(heads=heads), **TEXT))


def plain(objective, batch):
    """The same with all heads and all logits at once."""
    model, total = objective.model, 0.0
    states, beside = model.begin(batch["tokens"], documents=batch["documents"])
    for block, (turn, mask) in zip(model.blocks, beside, strict=True):
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
