"""All templates that trl ships, on conversations of many kinds, beside transformers and trl's own marks."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from curate.errors import CurateError
from curate.tokenize.chat import ChatTemplate
from curate.tokenize.roles import roles
from curate.tokenize.spans import prefix_spans
from curate.tokenize.template import DAY, has_marks
from curate.tokenize.tokenizer import load_tokenizer
from tests.oracles import library
from tests.tokenize.conversations import CONVERSATIONS

_FOUND = find_spec("trl")
SOURCES = {
    path.stem: path.read_text()
    for path in sorted(
        (Path(_FOUND.origin).parent / "chat_templates").glob("*.jinja") if _FOUND and _FOUND.origin else ()
    )
}
BARE = [name for name, source in SOURCES.items() if not has_marks(source)]
PAIRS = [name for name in BARE if f"{name}_training" in SOURCES]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
every_template = pytest.mark.parametrize("name", list(SOURCES) or ["none"])

PARTS = ("idefics3", "idefics3_training", "smolvlm", "smolvlm_training", "llava_next", "llava_next_training")
"""These read lists of parts, and of a plain text nothing."""

# What transformers renders and is refused here, and why.
NOTHING_SHOWN = "the template shows nothing that the assistant says"
NOT_TOLD = "where the assistant speaks in message 2 cannot be told"
REFUSED = {
    **{(name, talk): NOTHING_SHOWN for name in PARTS for talk in CONVERSATIONS},
    # these know no calls: of a conversation that ends in one they write an empty turn
    **{
        (f"{name}{twin}", "call last"): NOTHING_SHOWN
        for name in ("cohere2", "gemma", "gemma3", "llama3", "qwen2_5_vl")
        for twin in ("", "_training")
    },
    # these write what the tool answered into the assistant's turn, before what the assistant said
    **{
        (name, "words and a call"): NOT_TOLD
        for name in ("diffusion_gemma", "gemma4", "gemma4_v3", "gemma4_v4", "gemma4_v5")
    },
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A byte-level tokenizer with the special tokens of all templates."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    library("trl")
    shape = re.compile(r"<\|[^|<>'\" ]+\|>|<\uff5c[^<>\uff5c]+\uff5c>|<(?:start|end)_of_turn>|<turn\|>|<\|turn>")
    special = sorted({"<s>", "</s>", "<|endoftext|>"}.union(*map(shape.findall, SOURCES.values())))
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


@pytest.fixture(scope="module")
def chat(path):
    """A template of trl's with the tokenizer, by its name."""
    tokenizer = load_tokenizer(path)

    @cache
    def build(name):
        made = ChatTemplate(tokenizer, roles(tokenizer, "</s>"), SOURCES[name])
        made.names = TOKENS
        return made

    return build


@pytest.fixture(scope="module")
def theirs(path):
    """transformers' text of a conversation; and, where a template has marks, its tokens and their mask. None: it refuses."""
    library("transformers")
    import transformers.utils.chat_template_utils as module
    from transformers import PreTrainedTokenizerFast

    class Day:
        now = staticmethod(lambda: DAY)

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path), **TOKENS)

    def render(name, talk, tools):
        given = {"conversation": talk, "tools": tools, "chat_template": SOURCES[name]}
        try:
            text = tokenizer.apply_chat_template(**given, tokenize=False)
            marked = has_marks(SOURCES[name])
            found = tokenizer.apply_chat_template(**given, return_dict=True, return_assistant_tokens_mask=marked)
        except Exception:  # whatever a template raises
            return None
        return text, found["input_ids"], found.get("assistant_masks")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "datetime", Day)
        yield render


def ours(made, talk, tools):
    """The text, its tokens and their mask; or why it is refused."""
    given = [{name: value for name, value in message.items() if value is not None} for message in talk]
    try:
        rendered = made.rendered(given, tools)
    except CurateError as error:
        return error.problem
    ((tokens, mask),) = made.encode([rendered])
    return rendered, tokens, mask


def spoken(rendered):
    return [rendered.plain[start:stop] for start, stop in rendered.spans]


def runs(tokenizer, tokens, mask):
    """The texts of the stretches of tokens that are true."""
    edges = np.flatnonzero(np.diff(np.pad(mask, 1).astype(int)))
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return {tokenizer.decode(tokens[start:stop], skip_special_tokens=False) for start, stop in pairs}


@every_template
def test_what_transformers_renders_is_rendered_alike_or_refused_for_a_known_reason(chat, theirs, name):
    for talk, given in CONVERSATIONS.items():
        wanted, found = theirs(name, *given), ours(chat(name), *given)
        if wanted and isinstance(found, str):
            assert found.startswith(REFUSED[name, talk]), (talk, found)
        elif wanted:
            assert found[0].plain == wanted[0], talk
            if talk != "special tokens":  # there they are tokens for transformers, and words here
                assert found[1] == wanted[1], talk


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in BARE] or ["none"])
def test_the_mask_of_a_template_with_marks_is_that_of_transformers(chat, theirs, name):
    compared = 0
    for talk, given in CONVERSATIONS.items():
        wanted, found = theirs(name, *given), ours(chat(name), *given)
        if wanted and talk != "special tokens" and not isinstance(found, str):
            assert found[2].astype(int).tolist() == wanted[2], talk
            compared += any(wanted[2])
    assert compared >= 5 or name in PARTS


# Beside the prompt for an answer, what trl's marks have and ours have not, and the other way.
THEIRS = {
    "deepseek_r1_distill": {"<\uff5cAssistant\uff5c>", "<\uff5ctool\u2581outputs\u2581end\uff5c>"},
    "deepseekv3": {"<\uff5cAssistant\uff5c>", "<\uff5ctool\u2581outputs\u2581end\uff5c>"},
    "glm4moe": {"<|user|>"},  # the next role ends a turn
    "phi3": {"<|end|>\n"},  # of a turn that is a call, of which the template shows nothing
    "phi3_5": {"<|end|>\n"},
}
OURS = {
    "diffusion_gemma": {"<|turn>model\n", "<|tool_response>"}
}  # its prompt goes on with the turn that called the tool


@pytest.mark.parametrize("name", PAIRS or ["none"])
def test_a_template_without_marks_is_learned_from_as_trls_training_template_marks_it(chat, name):
    """All that trl marks, less what the prompt for an answer already has."""
    made = chat(name)
    prompt = made.render([{"role": "user", "content": "x"}], add_generation_prompt=True)
    for talk, given in CONVERSATIONS.items():
        found, wanted = ours(made, *given), ours(chat(f"{name}_training"), *given)
        if isinstance(found, str) or isinstance(wanted, str) or found[0].text != wanted[0].text:
            continue  # trl patches what some templates write, too
        _, tokens, mask = found
        theirs_alone = runs(made.closed, tokens, wanted[2] & ~mask)
        assert {text for text in theirs_alone if text not in prompt} <= THEIRS.get(name, set()), talk
        assert runs(made.closed, tokens, mask & ~wanted[2]) <= OURS.get(name, set()), talk


@pytest.mark.parametrize("name", BARE or ["none"])
def test_an_answer_is_found_in_the_whole_where_it_is_found_by_beginnings(chat, name):
    """A check of one way by the other; where the template shows nothing of a turn, beginnings leave the end of that turn."""
    made, ways = chat(name), Counter()
    for talk, (messages, tools) in CONVERSATIONS.items():
        given = [{key: value for key, value in message.items() if value is not None} for message in messages]
        guarded, _ = made._guarded({"messages": [made._checked(message, 1) for message in given], "tools": tools})
        render = partial(made.render, tools=guarded["tools"])
        try:
            whole = render(guarded["messages"])
            spans = made._found(render, guarded["messages"], whole).spans()
        except CurateError:
            continue
        wanted = prefix_spans(render, guarded["messages"], whole)
        ways["whole" if wanted is None else "beginnings"] += 1
        if wanted is not None:
            silent = {whole[start:stop] for start, stop in wanted if (start, stop) not in spans}
            assert set(spans) <= set(wanted), talk
            assert not any(
                message["content"].strip() in one for one in silent for message in given if message.get("content")
            )
    assert ways.total() >= 5 or name in PARTS


@every_template
def test_what_the_assistant_says_last_is_learned_and_what_others_say_is_not(chat, name):
    for talk, (messages, tools) in CONVERSATIONS.items():
        found = ours(chat(name), messages, tools)
        if isinstance(found, str):
            continue
        rendered, tokens, mask = found
        said = "\n".join(spoken(rendered))
        others = {message["content"].strip() for message in messages if message["role"] != "assistant"}
        mine = [message["content"] or "" for message in messages if message["role"] == "assistant"]
        last = mine[-1].split("</think>")[-1].strip()
        assert last in (spoken(rendered)[-1] if name in BARE else said), talk
        assert not any(other and other not in mine and other in said for other in others), talk
        learned = chat(name).closed.decode(np.array(tokens)[mask].tolist(), skip_special_tokens=False)
        assert last in learned, talk


def test_the_day_is_always_the_same(chat):
    assert "Current date: 2024-07-26" in chat("gptoss").render([{"role": "user", "content": "x"}])
    assert "Today Date: 26 Jul 2024" in chat("llama3_2").render([{"role": "user", "content": "x"}])
