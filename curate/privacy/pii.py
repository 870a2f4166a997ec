"""Takes personal data out of texts, and records where it stood, never what it was.

A batch is searched for triggers by RE2 inside Arrow (curate/privacy/windows.py), so that texts with nothing in them cost
nothing; in the others Presidio's pattern recognizers and curate's own (curate/privacy/recognizers.py) look at windows. No
language model, so no names and no places. What is found is found by form: expect misses, and audit what stays. Letters of any
other script may stand beside what is found, and full-width forms are found as well (curate/privacy/scripts.py).

Speed, and recall and precision against Presidio, are in benchmarks/RESULTS.md. Loading takes about 1.5 CPU s in each worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from curate.errors import did_you_mean
from curate.privacy.custom import CustomRecognizer, load_custom
from curate.privacy.names import DEFAULT_MODEL, NAMES, Name, check_model, load_names, model_facts
from curate.privacy.operators import KEYED, Operator, operator
from curate.privacy.plans import check_regions
from curate.privacy.recognizers import TYPES, Entity, load_recognizers
from curate.privacy.spans import beside, find_all, rendered
from curate.privacy.windows import triggered
from curate.stages.contract import Effect, Mapper, Span, Verdicts
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.privacy.vault import VaultWriter

__all__ = ["Pii"]

_PLACEHOLDERS: dict[Entity, str] = {
    "email": "<EMAIL>", "phone": "<PHONE>", "ip": "<IP>", "card": "<CARD>", "iban": "<IBAN>", "ssn": "<SSN>",
    "crypto": "<CRYPTO>", "mac": "<MAC>", "secret": "<SECRET>",
}  # fmt: skip
_KNOWN: dict[str, str] = {**TYPES, **NAMES}
_KEYS = {"anyOf": [{"enum": list(_KNOWN)}, {"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$"}]}
AnyEntity = Annotated[str, WithJsonSchema(_KEYS)]
"""One of `entities`, a name, or what a recognizer of the user's finds."""


class Pii(Mapper):
    """Takes out e-mail addresses, phone, card, IBAN and social security numbers, IP, MAC and wallet addresses, and secrets.

    Everything else stays byte for byte. An edited document carries the reason `pii`, the number of replacements as
    value, and the spans in the text as it was, with types (Presidio's names, where it has one) and scores. Applied again,
    the stage changes nothing, unless surrogates are asked for. Names of members inside JSON, numbers and bytes are not looked
    at; a run tells of the first and the last.

    `operators` says what becomes of each entity: `placeholder` (`<EMAIL>`), `mask` (its letters and digits become `*`),
    `pseudonym` (`<EMAIL_kfbaopmnegcdij>`: the same for the same value everywhere, made with a key), `surrogate` (a made-up
    value of the same kind, the same for the same value, made with the key, in ranges that are nobody's where there are such;
    of 768 IPv4 addresses two values may get one, so link by pseudonyms), `drop` (the document leaves), `keep`.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    @property
    def batch(self) -> int:  # type: ignore[override]
        """Fewer where a model runs: a call has a time limit."""
        return 64 if self.names else 2000

    version = 4
    libraries = ("presidio-analyzer", "phonenumbers", "tldextract", "regex")
    protects = True

    reasons = {
        "pii": "edited: personal data, replaced by what `operators` says",
        "personal_data": "it holds personal data whose operator is `drop`; the value is how many",
    }

    entities: tuple[Entity, ...] = Field(tuple(TYPES), description="What is looked for.")
    recognizers: tuple[CustomRecognizer, ...] = Field(
        (),
        description="What else is looked for: names of Presidio's recognizers (`UkNinoRecognizer`), `{use: module:Class, "
        "entity: EMPLOYEE_ID}`, or `{entity: EMPLOYEE_ID, patterns: [...]}`, with `name`, `context`, `score` and `trigger`.",
    )
    names: bool = Field(
        False,
        description="Look for names of people and places, too, with a language model (English): about 75 documents of 1.5 kB a "
        "second. `pip install 'curate-lm[ner]'`.",
    )
    name_entities: tuple[Name, ...] = Field(
        ("person", "location"), min_length=1, description="Which names; organisations are found badly."
    )
    names_model: str = Field(
        DEFAULT_MODEL,
        description="spaCy's model for them: a package, or a folder (with a `/`), relative to the pipeline file.",
    )
    operators: dict[AnyEntity, Operator] = Field(
        {}, description="What becomes of it, by entity; `placeholder` unless told."
    )
    key: str | None = Field(
        None,
        repr=False,
        description="Where the key of pseudonyms and surrogates is: `env:NAME` (a variable of the environment) or `file:PATH` "
        "(readable by its owner alone); at least 32 bytes. The key itself stands in no file of the project or the store.",
    )
    vault: str | None = Field(
        None,
        description="A folder outside of the store (relative to where the command runs) that keeps, encrypted with `key`, what "
        "pseudonyms and surrogates stand for: `curate privacy reveal` puts it back. Only what is done is kept: `--force` does "
        "all again.",
    )
    placeholders: dict[AnyEntity, str] = Field(
        {}, description="What stands in its place, by entity: in angle or square brackets, without digits, `@` or `:`."
    )
    min_score: float = Field(
        0.35, ge=0, le=1, description="Least confidence, from Presidio's scores: 1 is proven by a checksum."
    )
    min_scores: dict[AnyEntity, float] = Field({}, description="Least confidence by entity, instead of `min_score`.")
    phone_regions: tuple[str, ...] = Field(
        ("US", "GB", "DE", "FR", "IL", "IN", "CA", "BR"),
        description="Countries (ISO 3166) whose national numbers are found by their numbering plans; all others by their form "
        "and the words beside them. The time for phone numbers grows with each.",
    )
    public_ips_only: bool = Field(True, description="Leave private, local and reserved IP addresses in the text.")

    @field_validator("placeholders")
    @classmethod
    def _placeholders_are_no_data(cls, placeholders: dict[str, str]) -> dict[str, str]:
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
    def _entities_are_looked_for(self) -> Self:
        known = self.types()
        if not known:
            raise ValueError("nothing is looked for: name `entities` or `recognizers`")
        for setting in ("operators", "placeholders", "min_scores"):
            for entity in getattr(self, setting):
                if entity not in known and entity not in _KNOWN:
                    hint = did_you_mean(entity, {**_KNOWN, **known}) or f"there are: {', '.join({**_KNOWN, **known})}"
                    raise ValueError(f"`{setting}`: no entity is called `{entity}`; {hint}")
        return self

    @model_validator(mode="after")
    def _keyed_operators_have_a_key(self) -> Self:
        for entity, name in self.operators.items():
            if name in KEYED and self.key is None:
                raise ValueError(f"the operator `{name}` of `{entity}` needs `key: env:NAME` or `key: file:PATH`")
        if self.vault is not None and KEYED.isdisjoint(self.operators.values()):
            raise ValueError(
                "a `vault` keeps what pseudonyms and surrogates stand for, and no operator is one of these"
            )
        return self

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def types(self) -> dict[str, str]:
        """What is looked for, by entity: what its spans are called."""
        custom = (one.finds for one in self.recognizers)
        names = self.name_entities if self.names else ()
        return {one: _KNOWN.get(one, one) for one in (*self.entities, *custom, *names)}

    def model_files(self) -> Sequence[Path]:
        """Those of a language model in a folder."""
        folder = self.beside(self.names_model)
        there = self.names and "/" in self.names_model and folder.is_dir()
        return sorted(one for one in folder.rglob("*") if one.is_file()) if there else ()

    def _names_model(self) -> str:
        return str(self.beside(self.names_model)) if "/" in self.names_model else self.names_model

    def code_modules(self) -> Sequence[str]:
        """Those of the user's recognizers."""
        return [one.module for one in self.recognizers if one.module]

    def facts(self) -> Mapping[str, str]:
        """Which key it is: another one makes other texts. And which patterns have no trigger."""
        self._check_regions()
        for one in self.recognizers:
            one.check()
        everywhere = [one.name or one.finds for one in self.recognizers if one.sees_every_text]
        told = {"looked for in every text": ", ".join(everywhere)} if everywhere else {}
        if self.names:
            check_model(self._names_model())
            told["names"] = model_facts(self.names_model)
        key = self._key()
        if key is None:
            return told
        from curate.privacy.keys import key_id
        from curate.privacy.vault import check_vault

        if self.vault is not None:
            check_vault(Path(self.vault).expanduser())
        return {"key": key_id(key), **told}

    @needing("pii")
    def _check_regions(self) -> None:
        if "phone" in self.entities:
            check_regions(self.phone_regions)

    def _key(self) -> bytes | None:
        if KEYED.isdisjoint(self.operators.values()):
            return None
        from curate.privacy.keys import load_key

        return load_key(self.key, "the stage `pii`")

    def _vault(self, key: bytes | None) -> VaultWriter | None:
        from curate.privacy.vault import VaultWriter

        return VaultWriter(Path(self.vault).expanduser(), key) if self.vault is not None and key is not None else None

    def lost(self, stage: str) -> str | None:
        """The vault, where it has no record of this key."""
        key = self._key() if self.vault is not None else None
        if self.vault is None or key is None:
            return None
        from curate.privacy.vault import has_records

        if has_records(Path(self.vault).expanduser(), key):
            return None
        return (
            f"the vault `{self.vault}` of `{stage}` has no record of this key, so pseudonyms and surrogates of this version "
            f"cannot be put back; `--force {stage}` does the work again and writes it"
        )

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
        recognizers += load_custom(self.recognizers)
        least = {kind: self.min_scores.get(entity, self.min_score) for entity, kind in self.types().items()}
        triggers = [one.trigger for one in recognizers]
        instead = instead or self._placeholders()
        named = load_names(self._names_model(), self.name_entities) if self.names else None

        def find(texts: pa.Array | pa.ChunkedArray) -> Iterator[tuple[int, str, list[Span]]]:
            for row in triggered(texts, triggers).tolist():
                text = texts[row].as_py()
                if spans := find_all(text, recognizers, least, instead):
                    yield row, text, spans

        def find_names(texts: pa.Array | pa.ChunkedArray) -> Iterator[tuple[int, str, list[Span]]]:
            assert named is not None
            structured = {row: spans for row, _, spans in find(texts)}
            plain = texts.to_pylist()
            for row, (text, names) in enumerate(zip(plain, named(plain), strict=True)):
                sure = [span for span in names if span.score >= least[span.type]]
                if spans := beside(structured.get(row, []), sure):
                    yield row, text, spans

        return find if named is None else find_names

    def _placeholders(self) -> dict[str, str]:
        """By type; what has no other is called as it is, without digits."""
        default = {kind: f"<{''.join(one for one in kind if not one.isdigit())}>" for kind in self.types().values()}
        known = self.types()
        told = {**_PLACEHOLDERS, **self.placeholders}
        return default | {known[entity]: text for entity, text in told.items() if entity in known}

    def open(self) -> Callable[[pa.Table], Effect]:
        """Load the recognizers; the function takes out what they find."""
        key, placeholders = self._key(), self._placeholders()
        names: dict[str, Operator] = {
            kind: self.operators.get(one, "placeholder") for one, kind in self.types().items()
        }
        render = {kind: operator(name, kind, placeholders[kind], key) for kind, name in names.items()}
        stays = {kind: render[kind] for kind, name in names.items() if name in ("mask", "pseudonym")}
        find = self.finder(placeholders | stays)
        keyed = {kind for kind, name in names.items() if name in KEYED}
        vault = self._vault(key)

        def apply(batch: pa.Table) -> Effect:
            verdicts, pairs = Verdicts(), []
            for row, text, spans in find(batch.column("text")):
                dropping = [span for span in spans if names[span.type] == "drop"]
                changed = [span for span in spans if names[span.type] != "keep"]
                if dropping:
                    kinds = ", ".join(sorted({span.type for span in dropping}))
                    verdicts.drop(row, "personal_data", value=len(dropping), detail=kinds)
                elif changed:
                    verdicts.edit(row, rendered(text, changed, render), "pii", value=len(changed), spans=changed)
                    values = [(one.type, text[one.start : one.end]) for one in changed if vault and one.type in keyed]
                    pairs += [(kind, render[kind](value), value) for kind, value in values]
            if vault:
                vault.add(pairs)
            return Effect(verdicts.table())

        return apply
