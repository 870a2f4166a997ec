"""The estimate of memory: parameters to the last one, activations as autograd keeps them, and a run's real peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from curate.errors import CurateError
from curate.train.planner.memory import MARGIN, check_fits, count_parameters, estimate
from curate.train.settings.config import TrainConfig

GIB = 1 << 30
MODELS = {
    "llama": {},
    "llama, own output": {"tied": False},
    "gpt2": {"style": "gpt2"},
    "encoder": {"kind": "encoder"},
    "encoder_decoder": {"kind": "encoder_decoder"},
    "encoder_decoder, gated": {"kind": "encoder_decoder", "activation": "geglu", "tied": False},
    "lstm": {"kind": "lstm"},
    "cnn": {"kind": "cnn"},
}


OBJECTIVES = {"encoder": "masked", "encoder_decoder": "seq2seq", "cnn": "classification"}


def config(preset="10m", *, model=None, **settings):
    objective = {"kind": OBJECTIVES.get((model or {}).get("kind", ""), "causal")}
    given = {"dataset": "chat", "run": "small", "model": {"preset": preset, **(model or {})}, "objective": objective}
    return TrainConfig.model_validate({**given, **settings})


def estimated(settings, vocabulary=8192, **options):
    return estimate(settings, settings.model.architecture, vocabulary, **options)


def built(settings, vocabulary):
    """The trunk on the meta device."""
    import torch

    from curate.train.models.trunk import build_trunk

    with torch.device("meta"):
        return build_trunk(settings.model.architecture, vocabulary=vocabulary, length=settings.batch.length)


# ---- parameters


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("preset", ["1m", "124m"])
def test_every_parameter_is_counted(model, preset):
    settings = config(preset, model=model)
    counted = count_parameters(settings, settings.model.architecture, 5000)
    assert counted == sum(parameter.numel() for parameter in built(settings, 5000).parameters())


def test_weights_gradients_and_adamw_take_16_bytes_a_parameter():
    settings = config()
    found = estimated(settings)
    count = count_parameters(settings, settings.model.architecture, 8192)
    assert found.weights + found.gradients + found.optimizer == 16 * count


@pytest.mark.parametrize(
    ("optimizer", "each"),
    [({"kind": "adamw"}, 8), ({"kind": "sgd"}, 4), ({"kind": "adamw", "average": 0.999}, 12)],
)
def test_each_optimizer_has_its_state(optimizer, each):
    settings = config(optimizer=optimizer)
    assert estimated(settings).optimizer == each * count_parameters(settings, settings.model.architecture, 8192)


def test_muon_keeps_half_of_adamws_state_for_the_blocks():
    muon, adamw, sgd = (estimated(config(optimizer={"kind": kind})).optimizer for kind in ("muon", "adamw", "sgd"))
    assert sgd < muon < adamw


def test_shards_share_parameters_gradients_and_optimizer():
    settings = config(batch={"sequences": 16})
    one, four = (estimated(settings, processes=count) for count in (1, 4))
    assert (four.weights, four.gradients, four.optimizer) == (one.weights // 4, one.gradients // 4, one.optimizer // 4)
    assert four.activations == one.activations // 4
    assert four.whole == one.whole


def test_copies_of_the_model_share_nothing_between_them():
    settings = config(parallel={"replicate": 2}, processes=4, batch={"sequences": 16})
    assert estimated(settings).weights == estimated(config(), processes=2).weights


def test_adapters_have_small_gradients_and_state():
    whole, adapters = estimated(config()), estimated(config(lora={"rank": 4}))
    assert adapters.weights >= whole.weights
    assert adapters.gradients < whole.gradients / 50
    assert adapters.optimizer < whole.optimizer / 50


def test_a_base_in_bf16_takes_half_the_memory():
    full, half = (estimated(config(lora={"base": base})) for base in ("full", "bf16"))
    own = count_parameters(config(), config().model.architecture, 8192)
    assert full.weights - half.weights == 2 * own


@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_a_base_in_4_bits_takes_what_its_buffers_hold_in_every_process(kind):
    from curate.train.models.lora import add_lora

    settings = config("1m", model={"kind": kind, "path": "x"}, lora={"base": "nf4"}, batch={"sequences": 16})
    trunk = built(settings, 300)
    add_lora(trunk, settings.lora)
    held = sum(buffer.numel() * buffer.element_size() for buffer in trunk.buffers())
    rest = sum(parameter.numel() * parameter.element_size() for parameter in trunk.parameters())
    one, two = (estimated(settings, 300, processes=count).weights for count in (1, 2))
    assert one == pytest.approx(held + rest, rel=0.01)
    assert two == pytest.approx(held + rest / 2, rel=0.01)


@pytest.mark.parametrize("kind", ["decoder", "encoder", "encoder_decoder"])
@pytest.mark.parametrize("dora", [False, True])
def test_every_parameter_of_the_adapters_is_counted(kind, dora):
    from curate.train.models.lora import add_lora

    settings = config("1m", model={"kind": kind}, lora={"rank": 4, "targets": "all-linear", "dora": dora})
    trunk = built(settings, 300)
    add_lora(trunk, settings.lora)
    count = sum(parameter.numel() for parameter in trunk.parameters() if parameter.requires_grad)
    assert estimated(settings).gradients == 4 * count


def test_a_preference_keeps_the_model_as_it_began():
    plain = estimated(config())
    preference = estimated(config(objective={"kind": "preference"}))
    assert preference.weights == 2 * plain.weights
    assert preference.activations == 2 * plain.activations


@pytest.mark.parametrize("method", ["simpo", "orpo"])
def test_a_preference_without_a_reference_holds_the_model_once(method):
    plain = estimated(config())
    preference = estimated(config(objective={"kind": "preference", "method": method}))
    assert preference.weights == plain.weights
    assert preference.activations == 2 * plain.activations


def test_single_answers_are_read_with_gradients_once_beside_the_model_as_it_began():
    plain = estimated(config())
    kto = estimated(config(objective={"kind": "preference", "method": "kto"}))
    assert (kto.weights, kto.activations) == (2 * plain.weights, plain.activations)


def test_a_reward_model_has_no_logits_of_the_vocabulary():
    plain, scores = estimated(config()), estimated(config(objective={"kind": "reward"}))
    assert scores.loss == 0 < plain.loss
    assert (scores.weights, scores.activations) == (plain.weights, 2 * plain.activations)


# ---- activations


def saved_bytes(settings, *, masked):
    """What autograd keeps of a forward pass on the CPU, without the parameters."""
    import torch
    from torch.autograd.graph import saved_tensors_hooks

    from curate.train.models.trunk import build_trunk

    length, rows = settings.batch.length, settings.batch.sequences
    sizes = settings.model.architecture
    trunk = build_trunk(sizes, vocabulary=300, length=length)
    trunk.to(torch.float32 if settings.precision == "fp32" else torch.bfloat16)
    tokens = torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(1))
    more = {"documents": (torch.arange(length) // 20).expand(rows, length)} if masked else {}
    if sizes.kind == "encoder_decoder":
        more["inputs"] = tokens[:, : settings.objective.target_length]
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    owned = {parameter.untyped_storage().data_ptr() for parameter in trunk.parameters()}
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = (trunk.sentence if sizes.kind == "cnn" else trunk)(tokens, **more)
    del result
    return sum(size for place, size in kept.items() if place not in owned)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("model", "masked"),
    [
        ({}, True),
        ({}, False),
        ({"dropout": 0.1}, True),
        ({"style": "gpt2"}, True),
        ({"kind": "encoder"}, True),
        ({"kind": "encoder_decoder"}, True),
        ({"kind": "encoder_decoder", "activation": "geglu"}, True),
    ],
)
def test_a_block_keeps_what_is_estimated(model, masked, precision):
    """The difference of a block more, so that what lies outside the blocks does not count."""

    def settings(layers):
        return config(
            "1m",
            model={"layers": layers, **model},
            precision=precision,
            batch={"sequences": 4, "length": 128, "document_mask": masked},
        )

    two, three = settings(2), settings(3)
    measured = saved_bytes(three, masked=masked) - saved_bytes(two, masked=masked)
    expected = estimated(three, device="cpu").activations - estimated(two, device="cpu").activations
    assert expected == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("kind", ["lstm", "cnn"])
def test_other_models_keep_about_what_is_estimated(kind):
    settings = config("1m", model={"kind": kind}, batch={"sequences": 4, "length": 64})
    expected = estimated(settings, 300, device="cpu").activations
    assert expected == pytest.approx(saved_bytes(settings, masked=True), rel=0.5)


def test_recomputing_keeps_little_more_than_what_blocks_read():
    settings = config("124m", batch={"sequences": 16, "length": 1024})
    kept, recomputed = (estimated(settings.model_copy(update={"recompute": value})) for value in (False, True))
    assert recomputed.activations < kept.activations / 4
    assert recomputed.weights == kept.weights


def test_pieces_of_a_batch_divide_its_activations():
    one, four = (estimated(config(batch={"sequences": 16, "accumulate": count})) for count in (1, 4))
    assert four.activations == one.activations // 4


def test_the_loss_does_not_grow_with_the_batch():
    small, large = (estimated(config(batch={"sequences": count}), 50_304) for count in (8, 64))
    assert small.loss == large.loss


def test_labels_need_no_logits_of_the_vocabulary():
    assert estimated(config(model={"kind": "cnn"}), 50_304).loss == 0


# ---- what does not fit


def test_what_fits_is_only_estimated():
    settings = config()
    assert check_fits(settings, settings.model.architecture, 8192, available=8 * GIB) == estimated(settings)


def test_what_may_fit_is_not_refused():
    settings = config()
    sizes = settings.model.architecture
    total = estimated(settings).total
    check_fits(settings, sizes, 8192, available=int(total * (1 - MARGIN)) + 1)
    with pytest.raises(CurateError):
        check_fits(settings, sizes, 8192, available=int(total * (1 - MARGIN)) - 1)


def refused(settings, gib):
    with pytest.raises(CurateError) as error:
        check_fits(settings, settings.model.architecture, 32_768, available=int(gib * GIB), device="cuda")
    return error.value


def test_what_cannot_fit_is_refused_with_how_much_is_missing():
    settings = config("1b", batch={"sequences": 64, "length": 2048})
    error, total = refused(settings, 80), estimated(settings, 32_768).total / GIB
    assert f"about {total:.2f} GiB in each process, {total - 80:.2f} GiB more than the 80.00 GiB" in error.problem
    assert "activations" in error.problem


@pytest.mark.parametrize(
    ("gib", "hint"),
    [
        (80, "`batch.accumulate: 8` would fit"),
        (20, "`recompute: true`"),
        (12, "`processes: "),
        (1, "a smaller model"),
    ],
)
def test_the_mildest_remedy_is_told(gib, hint):
    assert hint in str(refused(config("1b", batch={"sequences": 64, "length": 2048}), gib).hint)


# ---- a real run

PROBE = """
import json, sys, torch
from pathlib import Path
from types import SimpleNamespace
from curate.train.build import Parts
from curate.train.settings.config import TrainConfig
from curate.train.models.trunk import build_trunk
from curate.train.objectives.language import Causal
from curate.train.weights.origin import fill_first
from curate.train.parallel.shard import shard_model
from curate.train.trainer import Trainer
from curate.train.parallel.world import joined

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

torch.set_num_threads(1)
config, vocabulary = TrainConfig.model_validate(json.loads(sys.argv[1])), int(sys.argv[2])
rows, length = config.batch.sequences, config.batch.length
with joined(0, 1, device="cpu") as world:
    before = status("VmRSS")
    with torch.device("meta"):
        trunk = build_trunk(config.model.architecture, vocabulary=vocabulary, length=length)
        objective = Causal(trunk, config.objective, token_bytes=None, end_of_text=0)
    shard_model(objective, world, config)
    fill_first(objective, None, seed=1, world=world)
    tokens = torch.randint(0, vocabulary, (rows, length + 1), generator=torch.Generator().manual_seed(1))
    places = torch.arange(length).expand(rows, length)
    batch = {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "documents": places // 100, "positions": places % 100}
    feed = SimpleNamespace(step=lambda number: dict(batch))
    trainer = Trainer(config, Parts(objective, {"": objective}, feed, {}, 0), world)
    for number in range(1, 3):  # from the second on there are state, gradients and activations at once
        trainer.step(number)
    print(status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("preset", "vocabulary", "settings"),
    [
        ("1m", 4096, {"batch": {"sequences": 16, "length": 256}}),
        ("10m", 8192, {"batch": {"sequences": 8, "length": 256}}),
        ("1m", 4096, {"batch": {"sequences": 16, "length": 256}, "precision": "bf16"}),
        (
            "10m",
            8192,
            {"batch": {"sequences": 8, "length": 256, "accumulate": 2}, "optimizer": {"kind": "muon", "average": 0.99}},
        ),
    ],
)
def test_a_run_takes_what_was_estimated(preset, vocabulary, settings):
    made = config(preset, device="cpu", **settings)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROBE, json.dumps(made.model_dump(mode="json")), str(vocabulary)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert estimated(made, vocabulary, device="cpu").total == pytest.approx(int(output), rel=MARGIN)
