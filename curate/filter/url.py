"""Documents by where they come from: datatrove's URL filter with its lists (4.6 million domains, 19,587 URLs, words).

RefinedWeb's filter (Penedo et al. 2023, appendix G.1), on the University of Toulouse's lists as datatrove packs them. Decided
as datatrove 0.10 decides (differential test); which suffixes are public is what the installed tldextract says, and the network
is not asked. Each worker reads the lists: 3 CPU seconds, 300 MB (benchmarks/url.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from curate.errors import CurateError
from curate.stages.contract import Filter, Rule
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Url"]

_ARCHIVE = "url_filterblacklistsv0_3_0.tar.gz"
_APART = re.compile(r"[^a-zA-Z0-9]+")
_FEATURES = (
    "urls",
    "listed_domains",
    "listed_hosts",
    "listed_urls",
    "banned_words",
    "soft_banned_words",
    "banned_parts",
)


class Lists(NamedTuple):
    """What URLs are held against.

    Attributes:
        domains: Domains and hosts.
        urls: Whole URLs.
        words: Words of which none may be in a URL.
        soft_words: Words of which several may not.
        parts: Strings that no URL may have, punctuation aside.
    """

    domains: Sequence[Collection[str]]
    urls: Sequence[Collection[str]]
    words: frozenset[str]
    soft_words: frozenset[str]
    parts: frozenset[str]


class Url(Filter):
    """Drops documents whose URL is on a list of domains, hosts or URLs, or has words of adult and other unwanted pages.

    Words are what stands between characters that are no ASCII letters or digits, and case counts, as in datatrove.
    """

    version = 1
    libraries = ("datatrove", "tldextract")
    reads_text = False
    thresholds = frozenset({"max_soft_words", "keep_without_url"})

    reasons = {
        "no_url": "it has none (`keep_without_url`)",
        "domain": "its registered domain is listed",
        "subdomain": "its host is listed",
        "url": "the whole URL is listed",
        "hard_blacklisted": "a banned word is in it",
        "soft_blacklisted": "more softly banned words than `max_soft_words`",
        "blacklisted_subword": "a banned string is in it, punctuation aside",
    }

    column: str = Field("url", description="Column with the URL.")
    lists: bool = Field(True, description="Use the lists that come with datatrove, beside your own.")
    domains: tuple[str, ...] = Field((), description="More domains and hosts: `example.com` or `shop.example.com`.")
    urls: tuple[str, ...] = Field((), description="More URLs, written as they are in the column.")
    banned_words: tuple[str, ...] = Field((), description="More words of which none may be in a URL.")
    soft_banned_words: tuple[str, ...] = Field((), description="More words of which `max_soft_words` may be in a URL.")
    banned_parts: tuple[str, ...] = Field((), description="More strings that may nowhere be in a URL.")
    max_soft_words: int | None = Field(
        1, ge=0, description="Most different softly banned words in a URL; null is any number."
    )
    keep_without_url: bool = Field(False, description="Keep documents whose URL is null or empty.")

    def columns(self) -> Sequence[str]:
        """The URL alone."""
        return (self.column,)

    def requires(self) -> Sequence[str]:
        """The URL."""
        return (self.column,)

    def model_files(self) -> Sequence[Path]:
        """Datatrove's lists."""
        folder = _folder()
        names = (_ARCHIVE, "banned_words.txt", "banned_subwords.txt", "soft_banned_words.txt") if self.lists else ()
        return [folder / name for name in names if folder and (folder / name).is_file()]

    @needing("url")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Counts what of a URL is listed."""
        import pyarrow as pa
        from tldextract import TLDExtract

        split, lists = TLDExtract(cache_dir=None, suffix_list_urls=()), self._load()

        def measure(batch: pa.Table) -> pa.Table:
            urls = batch.column(self.column).cast(pa.string()).to_pylist()
            rows = [_look(url, split, lists) if url else [0] * len(_FEATURES) for url in urls]
            return pa.table(
                {name: pa.array([row[at] for row in rows], pa.int32()) for at, name in enumerate(_FEATURES)}
            )

        return measure

    def rules(self) -> Sequence[Rule]:
        """In datatrove's order, with datatrove's reasons."""
        return (
            Rule("no_url", "urls", minimum=None if self.keep_without_url else 1),
            Rule("domain", "listed_domains", maximum=0),
            Rule("subdomain", "listed_hosts", maximum=0),
            Rule("url", "listed_urls", maximum=0),
            Rule("hard_blacklisted", "banned_words", maximum=0),
            Rule("soft_blacklisted", "soft_banned_words", maximum=self.max_soft_words),
            Rule("blacklisted_subword", "banned_parts", maximum=0),
        )

    def _load(self) -> Lists:
        domains: list[Collection[str]] = [frozenset(self.domains)]
        urls: list[Collection[str]] = [frozenset(self.urls)]
        words = [
            {_bare(word) for word in given} for given in (self.banned_words, self.soft_banned_words, self.banned_parts)
        ]
        if self.lists:
            folder = _folder()
            if folder is None or not (folder / _ARCHIVE).is_file():
                raise CurateError(
                    "datatrove's lists of URLs are not there", hint="pip install datatrove, or `lists: false`"
                )
            packed = _packed(folder / _ARCHIVE)
            domains.append(packed["domains"])
            urls.append(packed["urls"])
            for name, mine in zip(("banned_words", "soft_banned_words", "banned_subwords"), words, strict=True):
                mine |= {_bare(line) for line in _lines(folder / f"{name}.txt")}
        return Lists(domains, urls, *map(frozenset, words))


def _folder() -> Path | None:
    """Where datatrove's lists are."""
    found = find_spec("datatrove")
    folders = found.submodule_search_locations if found else None
    return Path(folders[0]) / "assets" if folders else None


def _lines(path: Path) -> Iterable[str]:
    return [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]


def _packed(path: Path) -> dict[str, Collection[str]]:
    """The lists in datatrove's archive, by name."""
    import tarfile

    from curate.filter.listed import Listed

    with tarfile.open(path) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive)
        return {name: Listed(file.read()) for name, file in files if file}


def _bare(text: str) -> str:
    """ASCII letters and digits of a text, small."""
    return _APART.sub("", text).lower()


def _look(url: str, split: Any, lists: Lists) -> list[int]:
    """The features of a URL."""
    parts, words, bare = split(url), set(_APART.split(url)), _bare(url)
    domain = f"{parts.domain}.{parts.suffix}" if parts.domain and parts.suffix else ""
    return [
        1,
        sum(domain in known for known in lists.domains),
        sum(parts.fqdn in known for known in lists.domains),
        sum(url in known for known in lists.urls),
        len(words & lists.words),
        len(words & lists.soft_words),
        sum(part in bare for part in lists.parts),
    ]
