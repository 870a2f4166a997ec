from __future__ import annotations

import math
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch.nn import functional

from curate.train.build import build_parts
from curate.train.data.order import Order
from curate.train.data.windows import Windows
from curate.train.models.trunk import build_trunk
from curate.train.optimization.optimizer import learning_rate
from curate.train.parallel.world import joined
from curate.train.settings.blocks import OptimizerSettings
from curate.train.trainer import NotFinite, Trainer


@pytest.fixture
def world():
    with joined(0, 1, device="cpu") as world:
        yield world


@pytest.fixture
def made(world):
    """A trainer on a pack; reading ahead ends with the test."""
    with ExitStack() as stack:
        yield lambda config, pack: Trainer(config, stack.enter_context(build_parts(config, {"": pack}, world)), world)


def plain_copy(trainer):
    """The trainer's model without FSDP."""
    trunk = trainer.objective.model
    model = build_trunk(trunk.sizes, vocabulary=trunk.embedding.num_embeddings, length=trunk.length)
    model.load_state_dict({name: value.full_tensor().detach().clone() for name, value in trunk.named_parameters()})
    return model


def plain_losses(config, pack, model):
    """The same run as an ordinary PyTorch loop: no FSDP, no chunks, PyTorch's own loss."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0}], betas=(0.9, 0.95)
    )
    windows = Windows(pack, "train", config.batch.length)
    order = Order(len(windows), sequences=config.batch.sequences, seed=config.seed)
    losses = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step + 1, config.steps, config.optimizer.learning_rate, config.schedule)
        batch = {name: torch.from_numpy(part) for name, part in windows.read(order.step(step)[1]).items()}
        states = model(batch["tokens"], documents=batch["documents"], positions=batch["positions"])
        loss = functional.cross_entropy((states @ model.unembedding.T).flatten(0, 1), batch["targets"].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_one_process_through_fsdp_has_the_losses_of_a_plain_loop(tiny, pack, made):
    config = tiny(steps=8)
    trainer = made(config, pack)
    plain = plain_losses(config, pack, plain_copy(trainer))
    losses = [trainer.step(number).loss for number in range(1, 9)]
    assert losses == pytest.approx(plain, abs=1e-6)


def test_accumulated_pieces_have_the_loss_of_the_whole_batch(tiny, pack, made):
    whole, pieces = (made(tiny(batch={"sequences": 4, "length": 32, "accumulate": count}), pack) for count in (1, 4))
    for number in range(1, 5):
        assert pieces.step(number).loss == pytest.approx(whole.step(number).loss, abs=1e-5)


@pytest.mark.slow
def test_the_loss_goes_down_on_python_s_documentation(tiny, pack, made):
    config = tiny(steps=150, batch={"sequences": 8, "length": 64}, optimizer={"learning_rate": 0.005})
    trainer = made(config, pack)
    before = trainer.validate()["bits_per_byte"]
    losses = [trainer.step(number).loss for number in range(1, 151)]
    assert losses[0] == pytest.approx(math.log(pack.vocabulary), abs=0.1)
    stream = Windows(pack, "train", 64).stream
    tokens = stream.tokens(0, len(stream))
    shares = np.bincount(tokens) / len(tokens)
    entropy = -sum(share * math.log(share) for share in shares if share)
    assert sum(losses[-10:]) / 10 < entropy - 0.25  # more is learned than how frequent each token is
    assert trainer.validate()["bits_per_byte"] < before - 1


def test_bits_per_byte_are_the_bits_of_all_text_tokens_over_the_bytes_of_the_texts(tiny, text_pack, made):
    texts = ["a few words of text", "und äußerst wenige auf Deutsch", "three"]
    pack = text_pack(train=["some text to learn a few words from"], validation=texts)
    batch = {"sequences": 4, "length": 7, "document_mask": False}
    trainer = made(tiny(validation={"sequences": None}, batch=batch), pack)
    model = plain_copy(trainer)
    shard = pack.manifest["splits"]["validation"]["shards"][0]
    tokens = np.fromfile(pack.folder / shard["file"], pack.manifest["dtype"]).astype(np.int64)
    nats = 0.0
    for start in range(0, len(tokens), 7):
        window = tokens[start : start + 7]
        before = tokens[start - 1] if start else pack.end_of_text
        with torch.no_grad():
            logits = (model(torch.tensor([[before, *window[:-1]]])) @ model.unembedding.T)[0]
        for row, token in zip(logits.log_softmax(-1), window, strict=True):
            nats -= row[token].item() * (token != pack.end_of_text)
    size = sum(len(text.encode()) for text in texts)
    found = trainer.validate()
    assert (found["tokens"], found["bytes"]) == (len(tokens) - len(texts), size)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-6)


def test_each_batch_of_validation_beats(tiny, pack, made):
    beats = []
    trainer = made(tiny(validation={"sequences": 10}), pack)
    assert trainer.validate(lambda: beats.append(1)) == trainer.validate()
    assert len(beats) == 3  # of 4 sequences each


def test_validation_is_none_without_a_validation_split(tiny, text_pack, made):
    assert made(tiny(), text_pack(train=["some text"])).validate() is None


def test_a_limit_on_validation_takes_windows_from_all_over_the_split(tiny, pack, made):
    some, more = (made(tiny(validation={"sequences": count}), pack).validate()["tokens"] for count in (8, 16))
    assert 0 < some < more


def test_a_loss_that_is_not_finite_stops_the_run_with_the_parameters_as_they_were(tiny, pack, made):
    trainer = made(tiny(), pack)
    with torch.no_grad():
        trainer.objective.model.norm.weight.fill_(math.nan)
    before = [parameter.full_tensor().clone() for parameter in trainer.objective.parameters()]
    with pytest.raises(NotFinite, match=r"step 1: the loss is nan") as error:
        trainer.step(1)
    assert "learning_rate" in error.value.hint
    after = [parameter.full_tensor() for parameter in trainer.objective.parameters()]
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, after, strict=True))


def test_bf16_keeps_parameters_and_optimizer_in_float32(tiny, pack, made):
    trainer = made(tiny(precision="bf16"), pack)
    assert trainer.step(1).loss == pytest.approx(math.log(pack.vocabulary), abs=0.1)
    states = [value for state in trainer.optimizer.state.values() for value in state.values()]
    assert {value.dtype for value in [*trainer.objective.parameters(), *states]} == {torch.float32}


def test_settings_of_the_optimizer_reach_it(tiny, pack, made):
    settings = OptimizerSettings(learning_rate=0.5, beta1=0.1, beta2=0.2, epsilon=1e-3)
    trainer = made(tiny(optimizer=settings, schedule={"warmup": 0}), pack)
    assert trainer.step(1).learning_rate == 0.5
    assert trainer.optimizer.param_groups[0]["betas"] == (0.1, 0.2)
