"""The balance of experts through the loop: its gradient is transformers', of each objective and however a step is cut."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack

import pytest
import torch

from curate.train.build import build_parts
from curate.train.models.trunk import build_trunk
from curate.train.parallel.world import joined
from curate.train.trainer import Trainer
from tests.train.tiny_families import theirs
from tests.train.tiny_models import change
from tests.train.tiny_tasks import CASES, config_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

BALANCE = 0.7


@pytest.fixture(scope="module")
def olmoe(tmp_path_factory):
    """A folder with an OLMoE of one layer: there transformers' balance is that of the layer."""
    folder = tmp_path_factory.mktemp("olmoe") / "one"
    theirs("olmoe-one-layer").save_pretrained(folder)
    return folder


@pytest.fixture
def stepped(olmoe, tiny_packs, tmp_path):
    """`stepped("sft", balance=0.7)`: gradients of a step, its whole tensors before it, and what the trunk read in it."""
    with joined(0, 1, device="cpu") as world, ExitStack() as stack:

        def step(case, balance=BALANCE, **settings):
            folder = tmp_path / f"of {balance}"
            if not folder.exists():
                shutil.copytree(olmoe, folder)
                change(folder, router_aux_loss_coef=balance)
            config = config_of(CASES[case], dropout=0.0, **settings)
            config = config.model_copy(update={"model": config.model.model_copy(update={"path": str(folder)})})
            config = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"clip": None})})
            trainer = Trainer(config, stack.enter_context(build_parts(config, tiny_packs(config), world)), world)
            before = {
                name: one.full_tensor().detach().clone() for name, one in trainer.objective.model.named_parameters()
            }
            read, gradients = [], {}

            def look(trunk, arguments, keywords):
                if trunk.training and torch.is_grad_enabled():
                    read.append((arguments[0], keywords.get("documents"), keywords.get("positions")))

            def keep(*_):
                for name, one in trainer.objective.model.named_parameters():
                    gradients[name] = torch.zeros(()) if one.grad is None else one.grad.full_tensor().clone()

            trainer.objective.model.register_forward_pre_hook(look, with_kwargs=True)
            trainer.objective.register_forward_pre_hook(lambda _, arguments: step.batches.append(arguments[0]))
            trainer.optimizer.step = keep
            trainer.step(1)
            return trainer.objective.model, before, read, gradients

        step.batches = []
        yield step


def of_transformers(trunk, before, read):
    """Gradients of BALANCE times transformers' balance, of several pieces the mean by tokens."""
    from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func

    plain = build_trunk(trunk.sizes, vocabulary=len(before["embedding.weight"]), length=trunk.length).eval()
    plain.load_state_dict(before)
    logits, counts, uneven = [], [], []
    plain.blocks[0].feed_forward.router.register_forward_hook(lambda *seen: logits.append(seen[2]))
    for tokens, documents, positions in read:
        mask = torch.ones_like(tokens) if documents is None else (documents >= 0).long()
        plain(tokens, documents=documents, positions=positions)
        uneven.append(load_balancing_loss_func((logits[-1],), 6, 2, attention_mask=mask))
        counts.append(int(mask.sum()))
    total = sum(one * count for one, count in zip(uneven, counts, strict=True)) / sum(counts)
    (BALANCE * total).backward()
    return {name: torch.zeros(()) if one.grad is None else one.grad for name, one in plain.named_parameters()}


@pytest.mark.parametrize(
    ("case", "pieces"),
    [("causal", 1), ("causal", 2), ("sft", 1), ("sft", 2), ("classification-decoder", 1), ("preference", 2), ("kto", 1),
     ("reward", 1),],
)  # fmt: skip
def test_a_step_adds_the_gradient_of_the_mean_balance_of_its_tokens(stepped, case, pieces):
    batch = {**CASES[case].settings.get("batch", {}), "accumulate": pieces}
    trunk, before, read, with_balance = stepped(case, batch=batch)
    without = stepped(case, 0.0, batch=batch)[3]
    assert len(read) == pieces
    wanted = of_transformers(trunk, before, read)
    assert wanted["blocks.0.feed_forward.router.weight"].abs().max() > 1e-3
    for name, one in with_balance.items():
        torch.testing.assert_close(one - without[name], wanted[name].expand_as(one), rtol=1e-3, atol=2e-6)


def test_the_gradients_of_a_step_are_those_of_the_loss_of_transformers(stepped, olmoe):
    from transformers import OlmoeForCausalLM

    _, before, ((tokens, _, _),), gradients = stepped("causal", batch={"sequences": 4, "document_mask": False})
    model = OlmoeForCausalLM.from_pretrained(olmoe, router_aux_loss_coef=BALANCE).train()
    places = {
        "blocks.0.attention.query.weight": "model.layers.0.self_attn.q_proj",
        "blocks.0.feed_forward.router.weight": "model.layers.0.mlp.gate",
        "output.weight": "lm_head",
    }
    assert before["embedding.weight"].equal(model.get_submodule("model.embed_tokens").weight)
    targets = stepped.batches[0]["targets"]
    found = model(tokens, output_router_logits=True)
    loss = torch.nn.functional.cross_entropy(found.logits.flatten(0, 1), targets.flatten())
    (loss + BALANCE * found.aux_loss).backward()
    for ours, its in places.items():
        torch.testing.assert_close(gradients[ours], model.get_submodule(its).weight.grad, rtol=1e-3, atol=2e-6)


@pytest.mark.usefixtures("quick_processes")
def test_two_processes_have_the_losses_of_one_that_cuts_its_batch_in_two(olmoe, run, tiny_packs, tmp_path):
    losses = {}
    for name, balance, processes in (("one", BALANCE, 1), ("two", BALANCE, 2), ("none", 0.0, 1)):
        shutil.copytree(olmoe, tmp_path / name)
        change(tmp_path / name, router_aux_loss_coef=balance)
        batch = {"sequences": 2, "length": 32, "accumulate": 2 // processes}
        config = config_of(CASES["causal"], dropout=0.0, steps=4, processes=processes, batch=batch)
        model = config.model.model_copy(update={"path": str(tmp_path / name)})
        config = config.model_copy(update={"model": model})
        made = run(config, f"run {name}", tiny_packs(config))
        losses[name] = [json.loads(line)["loss"] for line in (made.path / "metrics.jsonl").read_text().splitlines()]
    assert losses["two"] == pytest.approx(losses["one"], abs=1e-5)
    assert losses["none"] != pytest.approx(losses["one"], abs=1e-4)
