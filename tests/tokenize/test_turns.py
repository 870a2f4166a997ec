from __future__ import annotations

import json

import pytest

from curate.errors import CurateError
from curate.tokenize.chat import DEFAULT_TEMPLATE, ChatTemplate
from curate.tokenize.fields import Fields
from curate.tokenize.pack import pack_dataset
from curate.tokenize.tokenizer import TokenizerSettings, load_tokenizer
from curate.tokenize.turns import exchange

SETTINGS = TokenizerSettings(vocabulary=300)
TURNS = Fields(texts={}, turns={name: name for name in ("prompt", "chosen", "rejected")})
USER, GOOD, BAD = (
    {"role": role, "content": content}
    for role, content in (("user", "2 + 2?"), ("assistant", "4."), ("assistant", "5, <|end|> I think."))
)
SYSTEM = {"role": "system", "content": "You add."}
FORMS = {
    "texts": ("2 + 2?", "4.", BAD["content"]),
    "messages": ([USER], [GOOD], [BAD]),
    "text and messages": ("2 + 2?", [GOOD], BAD["content"]),
    "whole conversations": ("2 + 2?", [USER, GOOD], [USER, BAD]),
}
# a line end before and in the answer, which byte-level tokenizers make one token of
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def columns(*forms):
    return {role: [form[place] for form in forms] for place, role in enumerate(TURNS.turns)}


def shown(pack, role, number=0):
    tokens = pack.rows("train").tokens(role, number).tolist()
    return load_tokenizer(pack.tokenizer_path).decode(tokens, skip_special_tokens=False)


@pytest.mark.parametrize("stored", ["as they are", "JSON"])
@pytest.mark.parametrize("form", FORMS)
def test_prompts_and_answers_are_written_by_the_template_in_every_form(dataset, form, stored):
    given = FORMS[form]
    if stored == "JSON" or form in ("text and messages", "whole conversations"):
        given = tuple(value if isinstance(value, str) else json.dumps(value) for value in given)
    pack = pack_dataset(dataset(train=columns(given)), SETTINGS, TURNS)
    assert shown(pack, "prompt") == "<|user|>2 + 2?<|end|><|assistant|>"
    assert shown(pack, "chosen") == "4.<|end|>"
    assert shown(pack, "rejected") == "5, <|end|> I think.<|end|>"
    rejected = pack.rows("train").tokens("rejected", 0).tolist()
    assert rejected.count(pack.roles["end"]) == 1  # the other one is text
    assert pack.ends == (pack.roles["end"], pack.end_of_text)


def test_the_tokens_are_those_of_the_conversation_in_supervised_fine_tuning(dataset):
    talk = [SYSTEM, USER, GOOD]
    turns = pack_dataset(dataset(train=columns(([SYSTEM, USER], [GOOD], [BAD]))), SETTINGS, TURNS)
    told = Fields(texts={}, messages="messages")
    chat = pack_dataset(dataset(train={"messages": [talk]}), SETTINGS, told, tokenizer=turns.tokenizer_path)
    rows = turns.rows("train")
    both = [*rows.tokens("prompt", 0).tolist(), *rows.tokens("chosen", 0).tolist()]
    assert both == chat.rows("train").tokens("messages", 0).tolist()


def test_an_answer_keeps_what_a_token_would_join_with_the_prompt(dataset, tmp_path):
    (tmp_path / "chat.jinja").write_text(CHATML)
    fields = TURNS.model_copy(update={"chat_template": str(tmp_path / "chat.jinja")})
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    made = dataset(train=columns(*[("a\n\n\nb\n\n\nc", "\n\nyes\n\n\nno", "no")] * 20))
    pack = pack_dataset(made, TokenizerSettings(vocabulary=300, special_tokens=special), fields)
    assert shown(pack, "prompt") + shown(pack, "chosen") == (
        "<|im_start|>user\na\n\n\nb\n\n\nc<|im_end|>\n<|im_start|>assistant\n\n\nyes\n\n\nno<|im_end|>\n"
    )
    assert pack.ends == (1 + special.index("<|im_start|>"), 0)


def test_a_tokenizer_that_is_trained_learns_from_what_is_said(dataset):
    said = [{"role": "user", "content": "wonderful wonderful"}]
    pack = pack_dataset(dataset(train=columns(*[(json.dumps(said), "yes", "no")] * 4)), SETTINGS, TURNS)
    vocabulary = load_tokenizer(pack.tokenizer_path).get_vocab()
    assert "wonderful" in vocabulary and "role" not in vocabulary


def test_packs_of_plain_texts_are_those_of_before(dataset):
    plain = Fields(texts={"prompt": "prompt"})
    pack = pack_dataset(dataset(train={"prompt": ["a"]}), SETTINGS, plain)
    assert "turns" not in pack.manifest["fields"] and "turn_end" not in pack.manifest
    assert pack.ends == (pack.end_of_text,) and pack.chat_template is None


# ---- what is refused


@pytest.mark.parametrize(
    ("prompt", "chosen", "problem"),
    [
        ([USER, GOOD], "4", "the prompt ends with a turn of `assistant`"),
        ([SYSTEM], "4", "the prompt ends with a turn of `system`"),
        ([{"content": "hm", "role": "someone"}], "4", "message 1 has the role `someone`"),
        ("2?", [USER], "an answer is one turn of `assistant`; here are: `user`"),
        (" ", "4", "message 1 has no text in `content`"),
        ("2?", "", "message 2 has no text in `content`"),
        ("2 + 2?", [USER, GOOD], "`rejected` is a conversation that does not begin as the others do"),
        (None, "4", "a document has no `prompt`"),
    ],
)
def test_turns_that_are_none_are_refused_by_their_document(dataset, prompt, chosen, problem):
    values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in (prompt, chosen)]
    made = dataset(train={**columns(("a", "b", "c"), (*values, "5")), "id": ["one", "two"]})
    with pytest.raises(CurateError) as error:
        pack_dataset(made, SETTINGS, TURNS)
    assert error.value.problem == problem
    assert error.value.where == "document 1 of the split `train`, id `two`"


def test_answers_to_another_prompt_are_refused():
    with pytest.raises(CurateError, match="`chosen` is a conversation that does not begin as the others do"):
        exchange({"prompt": "3 + 3?", "chosen": [USER, GOOD], "rejected": [USER, BAD]})


def test_a_template_that_shows_prompts_otherwise_than_conversations_is_refused(dataset, tmp_path):
    (tmp_path / "chat.jinja").write_text("{{ messages | length }}" + DEFAULT_TEMPLATE)
    fields = TURNS.model_copy(update={"chat_template": str(tmp_path / "chat.jinja")})
    special = TokenizerSettings(
        vocabulary=300, special_tokens=("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>")
    )
    with pytest.raises(CurateError, match="the prompt is not how it begins with an answer"):
        pack_dataset(dataset(train=columns(FORMS["texts"])), special, fields)


def test_a_conversation_is_no_plain_text(dataset):
    plain = Fields(texts={"prompt": "prompt", "answer": "answer"})
    made = dataset(train={"prompt": ["a", json.dumps([USER])], "answer": ["b", "b"]})
    with pytest.raises(CurateError, match="the prompt in `prompt` is a conversation") as error:
        pack_dataset(made, SETTINGS, plain)
    assert "data.chat" in error.value.hint
    assert error.value.where == "document 1 of the split `train`"


def test_tools_are_shown_to_a_template_that_uses_them(dataset, tmp_path):
    source = "{% if tools %}<|system|>{{ tools | tojson }}<|end|>{% endif %}" + DEFAULT_TEMPLATE
    (tmp_path / "chat.jinja").write_text(source)
    fields = TURNS.model_copy(update={"chat_template": str(tmp_path / "chat.jinja")})
    special = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
    made = dataset(train={**columns(FORMS["texts"]), "tools": [json.dumps([{"name": "add"}])]})
    pack = pack_dataset(made, TokenizerSettings(vocabulary=300, special_tokens=special), fields)
    assert shown(pack, "prompt").startswith('<|system|>[{"name": "add"}]<|end|><|user|>')
    assert ChatTemplate(load_tokenizer(pack.tokenizer_path), pack.roles, source).turn_end == pack.ends[0]


# as DeepSeek R1's, whose prompt begins a thought
THINKING = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


@pytest.mark.parametrize(
    ("chosen", "rejected", "begins"),
    [("4.", "5.", ""), ("<think>\n2 and 2</think>4.", "<think>\n2 and 3</think>5.", "<think>\n"),
     ("<think>\n2 and 2</think>4.", "5.", "")],
)  # fmt: skip
def test_a_prompt_that_begins_what_an_answer_has_not_ends_before_it(dataset, tmp_path, chosen, rejected, begins):
    (tmp_path / "chat.jinja").write_text(THINKING)
    fields = TURNS.model_copy(update={"chat_template": str(tmp_path / "chat.jinja")})
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    made = dataset(train=columns(("2 + 2?", chosen, rejected)))
    pack = pack_dataset(made, TokenizerSettings(vocabulary=300, special_tokens=special), fields)
    assert shown(pack, "prompt") == f"<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n{begins}"
    for role, answer in (("chosen", chosen), ("rejected", rejected)):
        assert shown(pack, role) == f"{answer.removeprefix(begins)}<|im_end|>\n"


def test_prompts_and_answers_that_cannot_be_written_are_left_out_of_all_streams(dataset):
    rows = [("2 + 2?", "4.", "5."), ("3 + 3?", [USER], "7."), ("4 + 4?", "8.", "9.")]
    given = [tuple(value if isinstance(value, str) else json.dumps(value) for value in row) for row in rows]
    pack = pack_dataset(dataset(train=columns(*given)), SETTINGS, TURNS.model_copy(update={"unfit": "leave_out"}))
    assert [shown(pack, role, 1) for role in TURNS.turns] == [
        "<|user|>4 + 4?<|end|><|assistant|>",
        "8.<|end|>",
        "9.<|end|>",
    ]
    reasons = pack.manifest["splits"]["train"]["left_out"]
    assert reasons == {"an answer is one turn of `assistant`; here are: `user`": {"count": 1, "documents": [1]}}


def test_the_end_of_a_turn_is_what_comes_behind_the_words_of_an_answer(dataset, tmp_path):
    (tmp_path / "chat.jinja").write_text(CHATML.replace("{{ message.content }}", "<|channel|>{{ message.content }}"))
    fields = TURNS.model_copy(update={"chat_template": str(tmp_path / "chat.jinja")})
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|channel|>")
    pack = pack_dataset(
        dataset(train=columns(FORMS["texts"])), TokenizerSettings(vocabulary=300, special_tokens=special), fields
    )
    assert pack.ends == (2, 0)
