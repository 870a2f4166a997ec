"""Each family of decoders against its class in transformers, from its files and back to them."""

from __future__ import annotations

import json
import os
import shutil
from copy import deepcopy
from dataclasses import asdict, replace

import pytest
import torch

from curate.evaluation.models.generation import Generation
from curate.evaluation.models.ours import TrunkModel
from curate.train.data.batch import IGNORED
from curate.train.export.export import export_run
from curate.train.models.lora import add_lora, is_adapter
from curate.train.models.trunk import build_trunk, logits_of
from curate.train.objectives.distillation import Distillation
from curate.train.objectives.language import Causal, MultiToken
from curate.train.objectives.reference import log_probabilities
from curate.train.objectives.sft import Sft
from curate.train.planner.memory import count_parameters
from curate.train.settings.architecture import Architecture
from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import (
    CausalSettings,
    DistillationSettings,
    LoraSettings,
    MultiTokenSettings,
    SftSettings,
)
from curate.train.weights.adapter import write_adapter
from curate.train.weights.export import load_trained
from curate.train.weights.huggingface import read_huggingface, write_huggingface
from tests.train.tiny_families import FAMILIES, LENGTH, ROPES, VOCABULARY, theirs
from tests.train.tiny_models import change
from tests.train.tiny_tasks import CASES, config_of

os.environ["HF_HUB_OFFLINE"] = "1"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TOKENS = torch.randint(3, VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`folder(name)`: what transformers writes of a family's model; written once."""
    root = tmp_path_factory.mktemp("families")

    def written(name):
        if not (root / name).is_dir():
            theirs(name).save_pretrained(root / name)
        return root / name

    return written


@pytest.fixture(scope="module")
def ours(folder):
    """`ours(name)`: our trunk with the weights in those files; read once."""
    read: dict[str, torch.nn.Module] = {}

    def trunk(name):
        if name not in read:
            found = read_huggingface(folder(name))
            read[name] = build_trunk(found.sizes, vocabulary=found.vocabulary, length=found.length)
            read[name].load_state_dict({key.removeprefix("model."): value for key, value in found.tensors})
        return read[name].eval()

    return trunk


def close(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def loaded(folder):
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    assert not any(report.values())
    return model.eval()


@pytest.mark.parametrize("name", [*FAMILIES, *ROPES])
@torch.no_grad()
def test_a_family_is_read_with_its_logits(ours, name):
    close(logits_of(ours(name), ours(name)(TOKENS)), theirs(name)(TOKENS).logits)


@pytest.mark.parametrize("name", [*FAMILIES, *ROPES])
@torch.no_grad()
def test_a_family_is_written_with_its_logits_and_read_again_as_it_was(ours, tmp_path, name):
    trunk = ours(name)
    tensors = {f"model.{key}": value.detach() for key, value in trunk.named_parameters()}
    write_huggingface(
        tmp_path / "m", trunk.sizes, tensors, head="causal", vocabulary=VOCABULARY, length=LENGTH, roles={"end": 2}
    )
    again = loaded(tmp_path / "m")
    assert type(again) is type(theirs(name))
    close(again(TOKENS).logits, theirs(name)(TOKENS).logits)
    assert read_huggingface(tmp_path / "m").sizes == trunk.sizes
    assert Architecture.read(json.loads(json.dumps(asdict(trunk.sizes)))) == trunk.sizes


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_documents_in_a_row_have_the_logits_that_each_has_alone(ours, name):
    documents = torch.tensor([[0] * 3 + [1] * 17 + [2] * 20, [4] * 25 + [5] * 9 + [-1] * 6])
    found = logits_of(ours(name), ours(name)(TOKENS, documents=documents))
    for row in range(2):
        for number in documents[row].unique().tolist():
            places = documents[row] == number
            if number >= 0:
                close(found[row, places], theirs(name)(TOKENS[row : row + 1, places]).logits[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_likeliest_texts_are_those_that_transformers_generates(ours, name):
    """Texts of several lengths, two at a time: rows join, leave, and are padded on the left."""
    prompts = [TOKENS[0, :11].tolist(), TOKENS[1, :3].tolist(), TOKENS[0, 20:29].tolist()]
    longest = max(map(len, prompts))
    asked = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    wanted = theirs(name).generate(
        asked, attention_mask=mask, max_new_tokens=9, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    model = TrunkModel(
        ours(name), name=name, weights="", tokenizer=_Numbers(), prefix=0, end=frozenset(), length=LENGTH
    )
    found = Generation(model, most=9, end=frozenset()).continued(prompts, rows=2)
    assert [one.text for one in found] == [" ".join(map(str, row[longest:].tolist())) for row in wanted]


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "olmo2", "gemma2", "olmoe"])
def test_adapters_of_a_family_are_written_as_peft_loads_them(folder, tmp_path, name):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    found, settings = read_huggingface(folder(name)), LoraSettings(rank=2, targets=("query", "output"))
    trunk = build_trunk(found.sizes, vocabulary=found.vocabulary, length=found.length)
    trunk.load_state_dict({key.removeprefix("model."): value for key, value in found.tensors})
    add_lora(trunk, settings)
    for key, parameter in trunk.named_parameters():
        if is_adapter(key):
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(len(key)))
    tensors = {f"model.{key}": value.detach() for key, value in trunk.named_parameters()}
    write_adapter(tmp_path / "adapter", found.sizes, tensors, settings, head="causal", base=str(folder(name)))
    base = AutoModelForCausalLM.from_pretrained(folder(name), local_files_only=True)
    with torch.no_grad():
        wanted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()(TOKENS).logits
        close(logits_of(trunk.eval(), trunk(TOKENS)), wanted)


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text"])
@torch.no_grad()
def test_the_scale_of_embedded_tokens_is_rounded_to_bf16_as_in_transformers(ours, name):
    trunk, model = deepcopy(ours(name)).to(torch.bfloat16), deepcopy(theirs(name)).to(torch.bfloat16)
    wanted = model(TOKENS, output_hidden_states=True).hidden_states[0]
    assert torch.equal(trunk.begin(TOKENS)[0], wanted)


@pytest.mark.parametrize("name", ["gemma2", "gemma3-capped"])
@torch.no_grad()
def test_losses_and_probabilities_are_of_the_capped_logits(ours, name):
    batch = {"tokens": TOKENS[:, :-1], "targets": TOKENS[:, 1:]}
    logs = theirs(name)(TOKENS[:, :-1]).logits.log_softmax(-1).gather(-1, TOKENS[:, 1:, None])[..., 0]
    close(log_probabilities(ours(name), batch), logs)
    objective = Causal(ours(name), CausalSettings(), token_bytes=None, end_of_text=2)
    assert objective(batch).total.item() == pytest.approx(-logs.sum().item(), rel=1e-5)
    counted = TOKENS[:, 1:] != 2
    assert objective.score(batch)["nats"].item() == pytest.approx(-logs[counted].sum().item(), rel=1e-5)
    asked = {**batch, "targets": batch["targets"].masked_fill(TOKENS[:, 1:] % 3 > 0, IGNORED)}
    answers = -logs[asked["targets"] != IGNORED].sum().item()
    assert Sft(ours(name), SftSettings())(asked).total.item() == pytest.approx(answers, rel=1e-5)
    assert Sft(ours(name), SftSettings()).score(asked)["nats"].item() == pytest.approx(answers, rel=1e-5)
    student = Distillation(
        ours(name), DistillationSettings(teacher="same"), teacher=ours(name), token_bytes=None, end_of_text=2
    )
    assert student(batch).sums["teacher_loss"].item() == pytest.approx(0, abs=1e-3)


@torch.no_grad()
def test_the_first_of_several_heads_has_the_loss_of_the_capped_logits(folder):
    """The last layer of a model is the first head."""
    found = read_huggingface(folder("gemma3-without-windows"))
    tensors = {key.removeprefix("model."): value for key, value in found.tensors}
    last = {key.removeprefix("blocks.1."): tensors.pop(key) for key in list(tensors) if key.startswith("blocks.1.")}
    sizes = replace(found.sizes, layers=1)
    trunk = build_trunk(sizes, vocabulary=VOCABULARY, length=LENGTH)
    trunk.load_state_dict(tensors)
    several = MultiToken(trunk, MultiTokenSettings(heads=2), token_bytes=None, end_of_text=2).eval()
    for head in several.heads:
        head.load_state_dict(last)
    batch = {"tokens": TOKENS[:, :-1], "targets": TOKENS[:, 1:]}
    logs = theirs("gemma3-without-windows")(TOKENS[:, :-1]).logits.log_softmax(-1)
    first = -logs.gather(-1, TOKENS[:, 1:, None]).sum().item()
    second = -logs[:, :-1].gather(-1, TOKENS[:, 2:, None]).sum().item()
    assert several(batch).total.item() == pytest.approx(first + second, rel=1e-5)
    counted = logs.gather(-1, TOKENS[:, 1:, None])[..., 0][TOKENS[:, 1:] != 2]
    assert several.score(batch)["nats"].item() == pytest.approx(-counted.sum().item(), rel=1e-5)


@pytest.mark.parametrize("case", ["preference", "reinforcement"])
def test_other_objectives_and_adapters_train_and_export_a_family(folder, run, tiny_packs, tmp_path, case):
    config = config_of(CASES[case], steps=3, checkpoint_every=3, lora={"rank": 2}, dropout=0.0)
    config = config.model_copy(update={"model": config.model.model_copy(update={"path": str(folder("gemma2"))})})
    made = run(config, "run", tiny_packs(config))
    export_run(made.path, tmp_path / "export")
    trained = load_trained(made.path)
    with torch.no_grad():
        close(logits_of(trained.trunk(), trained.trunk()(TOKENS)), loaded(tmp_path / "export")(TOKENS).logits)


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "olmo2", "gemma2", "gemma3_text"])
@torch.no_grad()
def test_a_classifier_on_a_family_is_written_with_its_logits(ours, tmp_path, name):
    from transformers import AutoModelForSequenceClassification

    sizes, head = replace(ours(name).sizes, tied=True), torch.linspace(-1, 1, 3 * 32).view(3, 32)
    tensors = {f"model.{key}": value for key, value in ours(name).named_parameters() if key != "output.weight"}
    write_huggingface(
        tmp_path / "m", sizes, {**tensors, "head.weight": head}, head="classification", vocabulary=VOCABULARY,
        length=LENGTH, labels=["a", "b", "c"], roles={"padding": 0},
    )  # fmt: skip
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m", local_files_only=True).eval()
    close(again(TOKENS).logits, ours(name).sentence(TOKENS) @ head.T)
    assert read_huggingface(tmp_path / "m").head == "classification"


@pytest.mark.usefixtures("quick_processes")
def test_experts_that_two_processes_share_have_the_losses_of_one(folder, run, tiny_packs, tmp_path):
    shutil.copytree(folder("olmoe"), tmp_path / "olmoe")
    change(tmp_path / "olmoe", router_aux_loss_coef=0.0)  # a balance is that of a process's own tokens
    losses = []
    for processes in (1, 2):
        config = config_of(CASES["causal"], dropout=0.0, steps=3, processes=processes)
        model = config.model.model_copy(update={"path": str(tmp_path / "olmoe")})
        config = config.model_copy(update={"model": model})
        made = run(config, f"of {processes}", tiny_packs(config))
        losses.append([json.loads(line)["loss"] for line in (made.path / "metrics.jsonl").read_text().splitlines()])
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


class _Numbers:
    """Tells tokens as their numbers."""

    def get_added_tokens_decoder(self):
        return {}

    def decode(self, tokens):
        return " ".join(map(str, tokens))

    def to_str(self):
        return ""


@pytest.mark.parametrize("name", FAMILIES)
def test_the_planner_counts_the_parameters_of_a_family(ours, name):
    config = TrainConfig.model_validate({"dataset": "tiny", "run": "small"})
    counted = count_parameters(config, ours(name).sizes, VOCABULARY)
    assert counted == sum(parameter.numel() for parameter in ours(name).parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_that_was_tuned_is_exported_with_its_logits(folder, run, tiny_packs, tmp_path, name):
    settings = {"steps": 20, "checkpoint_every": 20, "validation": {"every": 20}}
    config = config_of(CASES["sft"], **settings)
    config = config.model_copy(update={"model": config.model.model_copy(update={"path": str(folder(name))})})
    made = run(config, "run", tiny_packs(config))
    losses = [json.loads(line)["loss"] for line in (made.path / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.8 * losses[0]
    export_run(made.path, tmp_path / "export")
    trained = load_trained(made.path)
    with torch.no_grad():
        close(logits_of(trained.trunk(), trained.trunk()(TOKENS)), loaded(tmp_path / "export")(TOKENS).logits)
    assert json.loads((tmp_path / "export" / "config.json").read_text())["max_position_embeddings"] == LENGTH
    assert (tmp_path / "export" / "tokenizer.json").is_file()
