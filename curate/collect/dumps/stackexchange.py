"""Questions with their answers from a dump of a Stack Exchange site (`Posts.xml`): one document a question.

Each row of the file is in a document, or counted: answers whose question is not there, and posts that are neither (wikis of
tags, elections). The licence is the one that the row names; in older dumps, by the day of the post: CC BY-SA 2.5 before
2011-04-08, 3.0 before 2018-05-02, 4.0 since (https://stackoverflow.com/help/licensing). It asks for the names and addresses
of authors: the column `attribution` has what the file has of them, numbers and addresses, and names of accounts that are gone.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from xml.parsers.expat import ExpatError

from pydantic import BeforeValidator, Field

from curate.collect.columns import Selection, document_table
from curate.collect.dumps.parts import DumpStream, dump_parts
from curate.collect.dumps.posts import ANSWER, QUESTION, Post, Posts, parse_row
from curate.collect.lines import line_blocks
from curate.stages.contract import Part, Passed, Rejected, Source, SourceContext

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["StackExchange"]

TABLE_BYTES = 8 << 20
COLUMNS = {
    "title": "string", "question_id": "int64", "score": "int64", "answers": "int64", "accepted_answer": "int64", "tags": "list",
    "created": "string", "url": "string", "license": "string", "license_evidence": "string", "attribution": "string",
}  # fmt: skip
LAST = re.compile(rb"^[ \t]*</posts>", re.MULTILINE)
TAG = re.compile(r"[^<>|]+")
LICENSES = (("2011-04-08", "CC-BY-SA-2.5"), ("2018-05-02", "CC-BY-SA-3.0"))
LAST_LICENSE = "CC-BY-SA-4.0"
NAMED = re.compile(r"CC BY-SA (\d\.\d)")
Row = tuple[int, int, int, int, int, bytes]
Paths = Annotated[
    list[str],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]


class StackExchange(Source):
    """Reads a dump of a Stack Exchange site (`Posts.xml`): one document a question, with its answers by score."""

    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow", "Resiliparse")
    planning: ClassVar[frozenset[str]] = frozenset({"paths"})

    paths: Paths = Field(
        description="Path, glob or URL of `Posts.xml` files, relative to the pipeline file: plain, .bz2, .gz, .xz or .zst "
        "(unpack .7z first); one a site."
    )
    site: str | None = Field(
        None,
        description="Address of the site, `https://math.stackexchange.com`, for `url` and `attribution`; by default, that of "
        "the folder that the file lies in, where it is called so (`math.stackexchange.com/Posts.xml`).",
    )
    min_score: int | None = Field(None, description="Answers with less are left out, and counted; by default, none is.")
    html: bool = Field(False, description="Keep the HTML of posts; by default, it is made plain text.")
    columns: list[str] | None = Field(
        None, description="Columns to keep beside the text; all of them by default, none with `[]`."
    )
    max_document_bytes: int = Field(
        64 << 20, ge=1, description="Longer rows and documents, in bytes, are quarantined as `too_long`."
    )

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """A part a file."""
        return dump_parts(self.paths, context)

    def read(self, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """Questions with answers, and what is none."""
        passed: Counter[str] = Counter()
        site = self.site or _site_of(part.name)
        with tempfile.TemporaryDirectory(prefix="curate-posts-") as folder:
            posts = Posts(Path(folder))
            try:
                yield from self._load(part, posts, passed)
                held: list[tuple[int, dict[str, Any]]] = []
                size = 0
                for thread in posts.threads():
                    one = self._document(thread, site, passed)
                    if isinstance(one, Rejected):
                        yield one
                    elif one is not None:
                        held.append((thread[0].offset, one))
                        size += len(one["text"])
                    if size >= TABLE_BYTES:
                        yield self._table(held, part.name)
                        held, size = [], 0
                if held:
                    yield self._table(held, part.name)
            finally:
                posts.close()
        for kind, count in sorted(passed.items()):
            yield Passed(kind, count)

    def _load(self, part: Part, posts: Posts, passed: Counter[str]) -> Iterator[Rejected]:
        """Put all posts into the table."""
        stream, whole = DumpStream(part), False
        for block in line_blocks(stream, start=0, stop=None, limit=self.max_document_bytes):
            if isinstance(block, Rejected):
                yield block
                continue
            rows: list[Row] = []
            offset = block.offset
            whole = whole or LAST.search(block.data) is not None
            for line in block.data.split(b"\n"):
                row = self._row(offset, line)
                offset += len(line) + 1
                if isinstance(row, Rejected):
                    yield row
                elif isinstance(row, str):
                    passed[row] += 1
                elif row is not None:
                    rows.append(row)
            posts.add(rows)
        yield from stream.damage
        if not whole:
            yield Rejected(stream.position, "truncated", "the file ends before `</posts>`")

    def _row(self, offset: int, line: bytes) -> Row | Rejected | str | None:
        """A post; what it is that is none; why it cannot be read; None for a line without a row."""
        bare = line.strip()
        try:
            fields = parse_row(bare)
            if fields is None:
                whole = not bare or bare.removeprefix(b"\xef\xbb\xbf").startswith((b"<?xml", b"<posts", b"</posts"))
                return None if whole else Rejected(offset, "corrupt", "the line is no row of posts")
            kind, number, score = fields.get("PostTypeId", ""), int(fields["Id"]), int(fields.get("Score", "0"))
            if kind not in (QUESTION, ANSWER):
                return "post of another kind"
            question = number if kind == QUESTION else int(fields["ParentId"])
            accepted = int(fields.get("AcceptedAnswerId") or 0)
            if max(map(abs, (question, number, score, accepted))) >= 2**63:
                return Rejected(offset, "corrupt", "the row has a number of more than 64 bits")
        except (ExpatError, KeyError, ValueError) as error:
            return Rejected(offset, "corrupt", f"the row is damaged: {type(error).__name__}: {error}")
        return question, int(kind != QUESTION), score, number, offset, bare

    def _document(
        self, thread: Sequence[Post], site: str | None, passed: Counter[str]
    ) -> dict[str, Any] | Rejected | None:
        first, answers = thread[0], list(thread[1:])
        if first.fields.get("PostTypeId") != QUESTION:
            passed["answer without its question"] += len(thread)
            return None
        twice = [one for one in answers if one.fields.get("PostTypeId") == QUESTION]
        if twice:
            passed["question that is there twice"] += len(twice)
            answers = [one for one in answers if one.fields.get("PostTypeId") == ANSWER]
        best: dict[int, Post] = {}
        for one in answers:
            best.setdefault(one.id, one)
        once = list(best.values())
        good = [one for one in once if self.min_score is None or one.score >= self.min_score]
        told = {"answer that is there twice": len(answers) - len(once), "answer below min_score": len(once) - len(good)}
        kept = [first, *good]
        text = "\n\n".join(filter(None, [first.fields.get("Title", ""), *(self._text(one) for one in kept)]))
        long = len(text.encode()) > self.max_document_bytes
        told["answer of a question that is too long" if long else "answer in its question"] = len(good)
        passed.update({kind: count for kind, count in told.items() if count})
        if long:
            return Rejected(first.offset, "too_long", f"the document is longer than {self.max_document_bytes} bytes")
        licenses, evidence = zip(*(_license(one.fields) for one in kept), strict=True)
        accepted = first.fields.get("AcceptedAnswerId", "")
        return {
            "text": text, "title": first.fields.get("Title"), "question_id": first.id, "score": first.score,
            "answers": len(good), "accepted_answer": int(accepted) if accepted.isdecimal() else None,
            "tags": TAG.findall(first.fields.get("Tags", "")), "created": first.fields.get("CreationDate"),
            "url": f"{site}/q/{first.id}" if site else None, "license": " AND ".join(sorted(set(licenses))),
            "license_evidence": ", ".join(sorted(set(evidence))),
            "attribution": "; ".join(dict.fromkeys(_author(one, site) for one in kept)),
        }  # fmt: skip

    def _text(self, post: Post) -> str:
        body = post.fields.get("Body", "")
        if self.html:
            return body
        from resiliparse.extract.html2text import extract_plain_text

        return extract_plain_text(f"<body>{body}</body>", main_content=False, links=False, alt_texts=False).strip()

    def _table(self, held: Sequence[tuple[int, dict[str, Any]]], name: str) -> pa.Table:
        import pyarrow as pa

        columns = None if self.columns is None else tuple(self.columns)
        selection = Selection("text", None, columns, self.max_document_bytes, name)
        types = {"string": pa.string(), "int64": pa.int64(), "list": pa.list_(pa.string())}
        table = document_table([one["text"] for _, one in held], None, [at for at, _ in held], name=name, columns={})
        for column in selection.carried(("text", *COLUMNS), complete=True):
            table = table.append_column(column, pa.array([one[column] for _, one in held], types[COLUMNS[column]]))
        return table


def _site_of(name: str) -> str | None:
    """The address of a site by the folder that its file lies in."""
    folder = Path(name).parent.name.lower()
    return f"https://{folder}" if re.fullmatch(r"(?:[a-z0-9-]+\.)+(?:com|net|org)", folder) else None


def _license(fields: dict[str, str]) -> tuple[str, str]:
    """The licence of a post, and what says so."""
    if named := NAMED.fullmatch(fields.get("ContentLicense", "").strip()):
        return f"CC-BY-SA-{named[1]}", "ContentLicense"
    day = fields.get("CreationDate", "9999")[:10]
    return next((license for before, license in LICENSES if day < before), LAST_LICENSE), "day of the post"


def _author(post: Post, site: str | None) -> str:
    """Who wrote a post, and where it stands."""
    number = post.fields.get("OwnerUserId", "")
    name = post.fields.get("OwnerDisplayName") or (f"user {number}" if number else "an unknown user")
    if site is None:
        return name
    kind = "q" if post.fields.get("PostTypeId") == QUESTION else "a"
    return f"{name} ({site}/users/{number}, {site}/{kind}/{post.id})" if number else f"{name} ({site}/{kind}/{post.id})"
