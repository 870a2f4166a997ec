"""Takes personal data out of texts, and records where it stood, never what it was.

A batch is searched for triggers by RE2 inside Arrow (curate/privacy/windows.py), so that texts with nothing in them cost
nothing; in the others Presidio's pattern recognizers and curate's own (curate/privacy/recognizers.py) look at windows. No
language model, so no names and no places. What is found is found by form: expect misses, and audit what stays. Letters of any
other script may stand beside what is found, and full-width forms are found as well (curate/privacy/scripts.py).

Speed, and recall and precision against Presidio, are in benchmarks/RESULTS.md. Loading takes about 1.5 CPU s in each worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from curate.privacy.operators import KEYED, Operator, operator
from curate.privacy.recognizers import TYPES, Entity, Recognizer, load_recognizers, resolve
from curate.privacy.windows import triggered
from curate.stages.contract import Effect, Mapper, Span, Verdicts
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Pii"]

_PLACEHOLDERS: dict[Entity, str] = {
    "email": "<EMAIL>", "phone": "<PHONE>", "ip": "<IP>", "card": "<CARD>", "iban": "<IBAN>", "ssn": "<SSN>",
    "crypto": "<CRYPTO>", "mac": "<MAC>", "secret": "<SECRET>",
}  # fmt: skip


class Pii(Mapper):
    """Takes out e-mail addresses, phone, card, IBAN and social security numbers, IP, MAC and wallet addresses, and secrets.

    Everything else stays byte for byte. An edited document carries the reason `pii`, the number of replacements as
    value, and the spans in the text as it was, with types (Presidio's names, where it has one) and scores. Applied again,
    the stage changes nothing, unless surrogates are asked for. Names of members inside JSON, numbers and bytes are not looked
    at; a run tells of the first and the last.

    `operators` says what becomes of each entity: `placeholder` (`<EMAIL>`), `mask` (its letters and digits become `*`),
    `pseudonym` (`<EMAIL_kfbaopmnegcdij>`: the same for the same value everywhere, made with a key), `surrogate` (a made-up
    value of the same kind, the same for the same value, made with the key, in ranges that are nobody's), `drop` (the document
    leaves), `keep`.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    version = 3
    libraries = ("presidio-analyzer", "phonenumbers", "tldextract", "regex")
    batch = 2000
    protects = True

    reasons = {
        "pii": "edited: personal data, replaced by what `operators` says",
        "personal_data": "it holds personal data whose operator is `drop`; the value is how many",
    }

    entities: tuple[Entity, ...] = Field(tuple(TYPES), min_length=1, description="What is looked for.")
    operators: dict[Entity, Operator] = Field(
        {}, description="What becomes of it, by entity; `placeholder` unless told."
    )
    key: str | None = Field(
        None,
        repr=False,
        description="Where the key of pseudonyms and surrogates is: `env:NAME` (a variable of the environment) or `file:PATH` "
        "(readable by its owner alone); at least 32 bytes. The key itself stands in no file of the project or the store.",
    )
    placeholders: dict[Entity, str] = Field(
        {}, description="What stands in its place, by entity: in angle or square brackets, without digits, `@` or `:`."
    )
    min_score: float = Field(
        0.35, ge=0, le=1, description="Least confidence, from Presidio's scores: 1 is proven by a checksum."
    )
    min_scores: dict[Entity, float] = Field({}, description="Least confidence by entity, instead of `min_score`.")
    phone_regions: tuple[str, ...] = Field(
        ("US", "GB", "DE", "FR", "IL", "IN", "CA", "BR"),
        description="Countries (ISO 3166) whose national numbers are found by their numbering plans; all others by their form "
        "and the words beside them. The time for phone numbers grows with each.",
    )
    public_ips_only: bool = Field(True, description="Leave private, local and reserved IP addresses in the text.")

    @field_validator("placeholders")
    @classmethod
    def _placeholders_are_no_data(cls, placeholders: dict[Entity, str]) -> dict[Entity, str]:
        """A placeholder must not be found as personal data itself, nor together with what stands beside it."""
        for entity, placeholder in placeholders.items():
            inner, brackets = placeholder[1:-1], placeholder[:1] + placeholder[-1:]
            if (
                brackets not in ("<>", "[]")
                or not inner
                or any(c.isdigit() or c.isspace() or c in "@:<>[]" for c in inner)
            ):
                raise ValueError(
                    f"the placeholder of `{entity}` is `{placeholder}`: write it like `<EMAIL>` or `[EMAIL]`"
                )
        return placeholders

    @field_validator("key")
    @classmethod
    def _key_is_elsewhere(cls, key: str | None) -> str | None:
        """The key is named, never given: what is given here would stand in the manifest."""
        if key is not None and not (key.startswith(("env:", "file:")) and key.partition(":")[2]):
            raise ValueError("write where the key is, `env:NAME` or `file:PATH`, not the key")
        return key

    @model_validator(mode="after")
    def _keyed_operators_have_a_key(self) -> Self:
        for entity, name in self.operators.items():
            if name in KEYED and self.key is None:
                raise ValueError(f"the operator `{name}` of `{entity}` needs `key: env:NAME` or `key: file:PATH`")
        return self

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def facts(self) -> Mapping[str, str]:
        """Which key it is: another one makes other texts."""
        key = self._key()
        if key is None:
            return {}
        from curate.privacy.keys import key_id

        return {"key": key_id(key)}

    def _key(self) -> bytes | None:
        if KEYED.isdisjoint(self.operators.values()):
            return None
        from curate.privacy.keys import load_key

        return load_key(self.key, "the stage `pii`")

    @needing("pii")
    def finder(
        self, instead: Mapping[str, str | Callable[[str], str]] | None = None
    ) -> Callable[[pa.Array | pa.ChunkedArray], Iterator[tuple[int, str, list[Span]]]]:
        """The function that finds: of the texts that hold something, in order, the row, the text and its disjoint spans.

        Args:
            instead: What stands in the place of each type while the rest is searched; placeholders unless told.
        """
        entities = tuple(dict.fromkeys(self.entities))
        recognizers = load_recognizers(entities, phone_regions=self.phone_regions, public_ips_only=self.public_ips_only)
        least = {TYPES[entity]: self.min_scores.get(entity, self.min_score) for entity in entities}
        triggers = [one.trigger for one in recognizers]
        instead = instead or self._placeholders()

        def find(texts: pa.Array | pa.ChunkedArray) -> Iterator[tuple[int, str, list[Span]]]:
            for row in triggered(texts, triggers).tolist():
                text = texts[row].as_py()
                if spans := _all_spans(text, recognizers, least, instead):
                    yield row, text, spans

        return find

    def _placeholders(self) -> dict[str, str]:
        return {TYPES[entity]: text for entity, text in (_PLACEHOLDERS | self.placeholders).items()}

    def open(self) -> Callable[[pa.Table], Effect]:
        """Load the recognizers; the function takes out what they find."""
        key, placeholders = self._key(), self._placeholders()
        names: dict[str, Operator] = {TYPES[one]: self.operators.get(one, "placeholder") for one in self.entities}
        render = {kind: operator(name, kind, placeholders[kind], key) for kind, name in names.items()}
        stays = {kind: render[kind] for kind, name in names.items() if name in ("mask", "pseudonym")}
        find = self.finder(placeholders | stays)

        def apply(batch: pa.Table) -> Effect:
            verdicts = Verdicts()
            for row, text, spans in find(batch.column("text")):
                dropping = [span for span in spans if names[span.type] == "drop"]
                changed = [span for span in spans if names[span.type] != "keep"]
                if dropping:
                    kinds = ", ".join(sorted({span.type for span in dropping}))
                    verdicts.drop(row, "personal_data", value=len(dropping), detail=kinds)
                elif changed:
                    verdicts.edit(row, _rendered(text, changed, render), "pii", value=len(changed), spans=changed)
            return Effect(verdicts.table())

        return apply


def _all_spans(
    text: str,
    recognizers: Sequence[Recognizer],
    least: Mapping[str, float],
    instead: Mapping[str, str | Callable[[str], str]],
) -> list[Span]:
    """All disjoint spans of a text, in its order.

    What is left without them may hold data that only shows now (two numbers run together): it is searched again until
    nothing is found. What only what stands instead is found in is left out, so every round takes characters of the text, and
    the rounds end.
    """
    spans = _found(text, recognizers, least)
    more = spans
    while more:
        made = _made(text, spans, instead)
        found = _found(_joined(text, spans, made), recognizers, least)
        more = [one for new in found if not _covered(one := _original(new, spans, made), spans)]
        spans = _merged(spans, more)
    return spans


def _found(text: str, recognizers: Sequence[Recognizer], least: Mapping[str, float]) -> list[Span]:
    """The disjoint spans of a text that are certain enough."""
    spans = [span for recognizer in recognizers for span in recognizer.find(text) if span.score >= least[span.type]]
    return resolve(spans)


def _rendered(text: str, spans: Sequence[Span], instead: Mapping[str, str | Callable[[str], str]]) -> str:
    """The text with something else in the place of each span: a string, or what a function makes of the value."""
    return _joined(text, spans, _made(text, spans, instead))


def _made(text: str, spans: Sequence[Span], instead: Mapping[str, str | Callable[[str], str]]) -> list[str]:
    return [one if isinstance(one := instead[s.type], str) else one(text[s.start : s.end]) for s in spans]


def _joined(text: str, spans: Sequence[Span], made: Sequence[str]) -> str:
    pieces, position = [], 0
    for span, one in zip(spans, made, strict=True):
        pieces += [text[position : span.start], one]
        position = span.end
    return "".join([*pieces, text[position:]])


def _original(found: Span, spans: Sequence[Span], made: Sequence[str]) -> Span:
    """A span of the edited text in the coordinates of the text as given; what stands instead counts whole if it meets it."""
    start, end, shift = found.start, found.end, 0
    first = last = None
    for span, one in zip(spans, made, strict=True):
        begin = span.start + shift
        finish = begin + len(one)
        if first is None and start < finish:
            first = span.start if start >= begin else start - shift
        if last is None and end <= finish:
            last = end - shift if end <= begin else span.end
        shift += len(one) - (span.end - span.start)
    return found._replace(start=start - shift if first is None else first, end=end - shift if last is None else last)


def _covered(one: Span, spans: Sequence[Span]) -> bool:
    """Whether spans take all characters of one."""
    taken = sum(max(0, min(one.end, span.end) - max(one.start, span.start)) for span in spans)
    return taken == one.end - one.start


def _merged(spans: Sequence[Span], more: Sequence[Span]) -> list[Span]:
    """Both, in order; a new span swallows the old ones inside it."""
    left = [old for old in spans if not any(new.start <= old.start and old.end <= new.end for new in more)]
    return sorted([*left, *more])
