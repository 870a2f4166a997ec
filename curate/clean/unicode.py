"""Makes text that looks the same be the same: wrong decoding, line ends, control and invisible characters, normal form.

Whole columns are searched first (RE2 through pyarrow); only documents with something to do are looked at one by one. Cost:
clean English at about 200 MB per CPU second, edited documents at about 40 MB (benchmarks/stages.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from curate.stages.contract import Effect, Mapper, Verdicts
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Unicode"]

ROUNDS = 10
"""One edit may make room for another (an invisible character inside a mis-decoded one); most texts need one."""


class Edit(NamedTuple):
    """One kind of edit: its name in verdicts, what a text must match to need it, and the function that does it."""

    reason: str
    pattern: str
    apply: Callable[[str], tuple[str, int]]


class Unicode(Mapper):
    """Repairs mis-decoded text and normalizes line ends, control and invisible characters, and Unicode forms."""

    libraries: ClassVar[tuple[str, ...]] = ("ftfy",)
    reasons: ClassVar[Mapping[str, str]] = {
        "mojibake": "edited: lines that were decoded with the wrong encoding; reasons of several edits are joined by `+`",
        "line_ends": "edited: line ends that were not LF",
        "control_characters": "edited: control characters or escape sequences",
        "invisible_characters": "edited: invisible characters",
        "straight_quotes": "edited: curly quotation marks or apostrophes",
        "normal_form": "edited: characters that were not in the normal form",
    }

    mojibake: bool = Field(
        True,
        description="Repair lines that were decoded with the wrong encoding (UTF-8 read as Latin-1 and the like), by ftfy.",
    )
    line_ends: bool = Field(
        True, description="Write every line end (CR LF, CR, NEL, vertical tab, form feed, U+2028, U+2029) as LF."
    )
    control_characters: bool = Field(
        True, description="Remove control characters other than tab and line feed, and terminal escape sequences."
    )
    invisible_characters: bool = Field(
        True,
        description="Remove zero-width spaces, word joiners, byte order marks and soft hyphens. Joiners (U+200C, U+200D) "
        "and marks of direction stay: scripts and emoji need them.",
    )
    straight_quotes: bool = Field(False, description="Write curly quotation marks and apostrophes as straight ones.")
    normal_form: Literal["NFC", "NFKC"] | None = Field(
        "NFC",
        description="Unicode normal form; NFKC also replaces ligatures, full-width letters and the like. Null: none.",
    )

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """Nothing."""
        return ()

    @needing("unicode")
    def open(self) -> Callable[[pa.Table], Effect]:
        """Edits texts; `reason` joins by `+` what was done, `value` counts the places (lines, for `mojibake`)."""
        import pyarrow as pa

        edits = self._edits()

        def clean(batch: pa.Table) -> Effect:
            texts = batch.column("text")
            rows: list[int] = list(range(len(texts)))
            latest: dict[int, str] = {}
            counts: dict[int, Counter[str]] = {}
            for _ in range(ROUNDS):
                changed = _edit_once(texts, edits)
                for place, (text, done) in changed.items():
                    latest[rows[place]] = text
                    counts.setdefault(rows[place], Counter()).update(done)
                rows = [rows[place] for place in changed]
                if not rows:
                    break
                texts = pa.array([latest[row] for row in rows], pa.string())
            verdicts = Verdicts()
            originals = batch.column("text").take(pa.array(list(latest), pa.int64())).to_pylist()
            for (row, text), original in zip(latest.items(), originals, strict=True):
                if text != original:
                    done = [edit.reason for edit in edits if edit.reason in counts[row]]
                    verdicts.edit(row, text, "+".join(done), value=float(counts[row].total()))
            return Effect(verdicts.table())

        return clean

    def _edits(self) -> list[Edit]:
        """What the settings ask for, in the order in which it is done."""
        from curate.clean.characters import character_edits, normal_form_edit
        from curate.clean.mojibake import mojibake_pattern, mojibake_repair

        edits = [Edit("mojibake", mojibake_pattern(), mojibake_repair())] if self.mojibake else []
        edits += [Edit(*edit) for edit in character_edits() if getattr(self, edit[0])]
        if self.normal_form:
            edits.append(Edit(*normal_form_edit(self.normal_form)))
        return edits


def _edit_once(texts: pa.Array | pa.ChunkedArray, edits: list[Edit]) -> dict[int, tuple[str, dict[str, int]]]:
    """By place, the texts that the edits change, each edit where its pattern matches, with what was done how often."""
    import pyarrow.compute as compute

    def matches(searched: pa.Array | pa.ChunkedArray, pattern: str) -> pa.Array:
        return compute.indices_nonzero(compute.match_substring_regex(searched, pattern))

    suspects = matches(texts, "|".join(f"(?:{edit.pattern})" for edit in edits))  # most texts end here
    suspected = texts.take(suspects)
    needs: dict[int, list[Edit]] = {}
    for edit in edits:
        for place in matches(suspected, edit.pattern).to_pylist():
            needs.setdefault(place, []).append(edit)
    changed: dict[int, tuple[str, dict[str, int]]] = {}
    for number, (place, text) in enumerate(zip(suspects.to_pylist(), suspected.to_pylist(), strict=True)):
        done: dict[str, int] = {}
        for edit in needs.get(number, ()):
            text, count = edit.apply(text)
            if count:
                done[edit.reason] = count
        if done:
            changed[place] = (text, done)
    return changed
