"""A crawl, wave by wave: what is asked for depends on what pages say, and never on which of them came first.

A wave is all addresses that the wave before led to. Of those of one host, one after the other is asked for, in their order;
several hosts are asked at once; the next wave begins when all have answered. Each answer is kept before its host is asked
again. There is no other record of where a crawl is: one that was killed goes through its waves from the start, takes what is
kept as the answers, and comes to where it was, having asked for nothing twice but what was under way.

Memory: the addresses that were met, asked for or not, about a kilobyte each, the links of a wave, and the answers under way.
"""

from __future__ import annotations

import threading
from collections import ChainMap, Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from heapq import merge
from typing import TYPE_CHECKING, Any, NamedTuple

from curate import jsontext
from curate.collect.fetch.client import origin, public_url
from curate.collect.fetch.rows import KEY
from curate.collect.web.addresses import alike, has_credential, host_of, trap
from curate.collect.web.answers import became, plain_row
from curate.collect.web.before import Before
from curate.collect.web.hosts import Came, Host
from curate.collect.web.records import Row, row_of, table_of
from curate.collect.web.robots import ROBOTS_BYTES
from curate.collect.web.settle import settled
from curate.errors import ResumableError

if TYPE_CHECKING:
    from curate.collect.web.source import Web
    from curate.stages.fetched import Desk

__all__ = ["Lead", "Met", "Walk"]

HOPS = 10
TOLD = 100
NOT_FINAL = ("depth", "nofollow", "redirects", "trap")
"""Refusals that the way to an address decides: another way may lead there."""
LIMITS = ("max_pages", "host_pages", "host_bytes")
SMALL = (KEY, "reason", "detail", "status", "bytes")
FILES = ("robots_txt", "tdmrep")


class Met(NamedTuple):
    """How an address was met.

    Attributes:
        depth: Links from a seed.
        hops: Redirections in a row that led there.
        alike: Addresses in a row, up to it, that differ in digits alone.
        found_on: What led there.
        kind: What is expected there: `page`, or what a source knows.
        modified: When it was last changed, as a list of addresses says.
    """

    depth: int = 0
    hops: int = 0
    alike: int = 0
    found_on: str | None = None
    kind: str = "page"
    modified: str | None = None


class Lead(NamedTuple):
    """An address that a row leads to, and why it is not gone to, where that is known."""

    url: str
    met: Met
    refusal: str | None = None


class Walk:
    """Goes from the seeds as far as the source says.

    Args:
        source: Says what to take, and how gently.
        desk: Keeps it.
        seeds: Where to begin.
    """

    def __init__(self, source: Web, desk: Desk, seeds: Mapping[str, Met]) -> None:
        self.source, self.desk, self.seeds = source, desk, seeds
        self.met: dict[str, Met] = {}
        self.refused: dict[str, tuple[str, str | None]] = {}
        self.ways: dict[str, Met] = {}
        self.asked = Counter[str]()
        self.kept: dict[str, Row] = {}
        for piece in desk.pieces:
            self._remember(desk.store.read_table(piece.object, list(SMALL)).to_pylist(), piece.object)
        self.before = Before(desk)
        self.hosts: dict[str, Host] = {}
        self._stop = threading.Event()
        self._credentials = source.credentials()
        self._own = {origin(seed) for seed in seeds}

    def _remember(self, rows: Iterable[Row], piece: str) -> None:
        for row in rows:
            self.kept[row[KEY]] = {"piece": piece} | {name: row.get(name) for name in SMALL}

    def run(self) -> dict[str, int]:
        """Ask for everything; counts of addresses by what became of them.

        Raises:
            ResumableError: No page could be had; nothing of it is kept.
        """
        with ThreadPoolExecutor(self.source.hosts) as pool:
            try:
                wave: dict[str, Met] = dict(self.seeds)
                while wave:
                    wave = self._wave(pool, wave)
            finally:
                self._stop.set()
                for host in self.hosts.values():
                    host.client.rest()
        counts = Counter[str]()
        if self.source.keeps_old:
            for url in [one for one, (reason, _) in self.refused.items() if reason in LIMITS]:
                if (row := self.before.whole(url)) is not None and row["reason"] is None:
                    del self.refused[url]  # there is no room to ask about it: it stays
        old = self._old() if self.source.keeps_old else ()
        rest = merge(self._rest(), old, key=lambda row: row[KEY])
        self.desk.replace(settled(self.desk, rest, self.before, counts))
        if not counts["documents"]:
            self._nothing(counts)
        return dict(counts)

    def _nothing(self, counts: Counter[str]) -> None:
        seed = next(iter(self.seeds))
        row = self.kept.get(seed, {})
        reason, detail = self.refused.get(seed, (row.get("reason"), row.get("detail")))
        self.desk.start_over()
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items() if name not in FILES)
        raise ResumableError(
            f"no page could be had: `{public_url(seed)}` is {reason or 'no document'}{f' ({detail})' if detail else ''}",
            hint=f"what became of the addresses: {told or 'none was met'}",
        )

    # ---- a wave

    def _wave(self, pool: ThreadPoolExecutor, wave: Mapping[str, Met]) -> dict[str, Met]:
        for url, met in wave.items():
            self.met[url] = met
            self.refused.pop(url, None)
        by_host: dict[str, list[str]] = defaultdict(list)
        for url in sorted(wave):
            by_host[host_of(url)].append(url)
        self._leave_out(by_host)
        self._meet(pool, by_host)
        for name, urls in by_host.items():
            for url in urls:
                refusal = self.hosts[name].refuses(url)
                if refusal and not (refusal[0] in ("no_robots_txt", "no_tdmrep") and self._stays(url)):
                    self.refused[url] = refusal
        self._ask(pool, self._admitted(by_host))
        for name in by_host:
            self.hosts[name].client.rest()
        found: dict[str, Met] = {}
        for url in sorted(wave):
            for lead in self._leads(url):
                self._consider(lead, found)
        return found

    def _consider(self, lead: Lead, found: dict[str, Met]) -> None:
        """Take an address into the next wave, or say why not."""
        url, met = lead.url, lead.met
        refusal = (lead.refusal, None) if lead.refusal else self._refusal(url, met)
        if url in self.met or (url in self.kept and self.kept[url]["reason"] in FILES):
            return
        if refusal is None:
            if self.refused.get(url, ("depth",))[0] in NOT_FINAL:
                found[url] = min(
                    found.get(url, met), met, key=lambda one: (one.depth, one.hops, one.alike, one.found_on or "")
                )
        elif url not in found and url not in self.refused:
            self.refused[url], self.ways[url] = refusal, met

    def _refusal(self, url: str, met: Met) -> tuple[str, str | None] | None:
        if not self.source.covers(url):
            return "scope", None
        if has_credential(url):
            return "credential", None
        if met.kind == "page" and (why := trap(url)):
            return "trap", why
        if met.alike > self.source.most_alike:
            return "trap", f"{met.alike} addresses in a row that differ in digits alone"
        if self.source.deepest is not None and met.depth > self.source.deepest:
            return "depth", None
        return ("redirects", f"more than {HOPS} in a row") if met.hops > HOPS else None

    def _leads(self, url: str) -> Iterator[Lead]:
        row, met = self.kept.get(url), self.met[url]
        if row is None:
            return
        rows = self.desk.store.read_table(row["piece"], [KEY, "links"]).to_pylist()
        links = jsontext.loads(next(one["links"] for one in rows if one[KEY] == url) or "[]")
        if row["reason"] == "redirect":
            yield Lead(links[0][0], met._replace(hops=met.hops + 1, found_on=url))
            return
        for lead in self.source.leads(url, met, row["reason"], links):
            same = lead.met.kind == "page" and alike(lead.url) == alike(url) and lead.url != url
            yield lead._replace(met=lead.met._replace(alike=met.alike + 1 if same else 0))

    # ---- who is asked

    def _leave_out(self, by_host: dict[str, list[str]]) -> None:
        """Hosts that are new, where there is no room for a page of theirs: they are not asked for their rules."""
        room = {kind: self.source.max_pages - count for kind, count in self.asked.items()}
        for name in sorted(by_host.keys() - self.hosts.keys()):
            kinds = {self.met[url].kind for url in by_host[name]}
            if all(room.get(kind, 1) <= 0 for kind in kinds):
                self.refused |= dict.fromkeys(by_host.pop(name), ("max_pages", None))
            else:
                room |= {kind: room.get(kind, self.source.max_pages) - 1 for kind in kinds}

    def _meet(self, pool: ThreadPoolExecutor, by_host: Mapping[str, list[str]]) -> None:
        """Ask hosts that are new for their rules."""
        new = [name for name in by_host if name not in self.hosts]
        for name in new:
            root = by_host[name][0].partition("://")[0] + f"://{name}"
            self.hosts[name] = Host(root, self.source, self._credentials, self._own, self._stop)
        asked: dict[Future[Came], tuple[str, str, str]] = {}
        for at, path in zip(FILES, ("/robots.txt", "/.well-known/tdmrep.json"), strict=True):
            for name in new:
                url = self._file(name, path)
                if url not in self.kept and not self._closed(name, at):
                    asked[pool.submit(self.hosts[name].ask, url, follow=True, all_types=True)] = (
                        name,
                        url,
                        at,
                    )
            self._rules_came(asked)
            asked.clear()
        for name in new:
            robots, reservations = (self._kept_file(name, path) for path in ("/robots.txt", "/.well-known/tdmrep.json"))
            self.hosts[name].obey(robots, reservations)
            rules = self.hosts[name].rules
            if rules and rules.closed and self.desk.previous and "robots" in self.source.obey:
                self.desk.say(f"{name}: {rules.closed}; what was fetched of it before stays as it was")

    def _rules_came(self, asked: Mapping[Future[Came], tuple[str, str, str]]) -> None:
        waiting = set(asked)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                _, url, at = asked[future]
                came = future.result()
                most = ROBOTS_BYTES if at == "robots_txt" else None
                row = plain_row(url, came, at, body=came.body[:most], depth=0)
                row |= {"reason": at, "detail": f"{came.reason}: {came.detail}" if came.reason else None}
                self._keep([row])

    def _file(self, name: str, path: str) -> str:
        return self.hosts[name].root + path

    def _closed(self, name: str, at: str) -> bool:
        row = self.kept.get(self._file(name, "/robots.txt"))
        return at != "robots_txt" and "robots" in self.source.obey and row is not None and row["status"] is None

    def _kept_file(self, name: str, path: str) -> Came:
        url = self._file(name, path)
        if url not in self.kept:
            return Came("unreachable")
        rows = self.desk.store.read_table(self.kept[url]["piece"]).to_pylist()
        row = next(one for one in rows if one[KEY] == url)
        return Came(None, row["detail"], row["status"], jsontext.loads(row["headers"]), row["body"] or b"")

    def _admitted(self, by_host: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """What is asked for in this wave: hosts in turns, until there is enough."""
        turns = [
            (turn, name, url)
            for name, urls in by_host.items()
            for turn, url in enumerate(url for url in urls if url not in self.refused)
        ]
        chosen: dict[str, list[str]] = defaultdict(list)
        for _, name, url in sorted(turns):
            host, most = self.hosts[name], self.source.host_pages
            kind = self.met[url].kind
            if self.asked[kind] >= self.source.max_pages:
                self.refused[url] = "max_pages", None
                continue
            if most is not None and host.pages[kind] >= most:
                self.refused[url] = "host_pages", None
                continue
            host.pages[kind] += 1
            self.asked[kind] += 1
            chosen[name].append(url)
        return chosen

    def _ask(self, pool: ThreadPoolExecutor, chosen: Mapping[str, list[str]]) -> None:
        queues = {name: iter(urls) for name, urls in chosen.items()}
        waiting: dict[Future[Came], str] = {}

        def go_on(name: str) -> None:
            for url in queues[name]:
                if self._known(name, url):
                    continue
                waiting[
                    pool.submit(
                        self.hosts[name].ask, url, self.before.conditions(url), all_types=self.met[url].kind != "page"
                    )
                ] = url
                return

        for name in sorted(queues):
            go_on(name)
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                url = waiting.pop(future)
                self._came(url, future.result())
                go_on(host_of(url))

    def _known(self, name: str, url: str) -> bool:
        """Whether nothing is to be asked: it is kept, unchanged by its date, or of a host that has given enough."""
        host, most = self.hosts[name], self.source.host_bytes
        if most is not None and host.bytes >= most:
            self.refused[url] = "host_bytes", None
            return True
        if url not in self.kept and (row := self.before.of_date(url, self.met[url].modified)):
            self._keep([row])
        if url not in self.kept:
            return False
        host.bytes += self.kept[url]["bytes"] or 0
        return True

    def _came(self, url: str, came: Came) -> None:
        host, met = self.hosts[host_of(url)], self.met[url]
        values = {"depth": met.depth, "found_on": met.found_on, "modified": met.modified}
        old = self.before.whole(url)
        if came.status == 304 and old is not None and old["body"] is not None:
            came = self.before.revived(came, old)
        if came.reason == "unreachable" and old is not None and self._stays(url):
            self.desk.say(f"{url} cannot be had now; it stays as it was fetched at {old['fetched_at']}")
        else:
            self._keep(became(self.source, url, came, host, met.kind, values))
        host.bytes += self.kept[url]["bytes"] or 0
        if self.asked and len(self.kept) % TOLD == 0:
            self.desk.say(f"{len(self.kept):,} addresses asked for, {len(self.met):,} met")

    def _stays(self, url: str) -> bool:
        """Keep what an address was before, whatever that was, where it was asked for then."""
        if url not in self.kept:
            old = self.before.whole(url)
            if old is None or old["fetched_at"] is None:
                return False
            self._keep([old])
        return True

    def _keep(self, rows: list[Row]) -> None:
        self.desk.keep(table_of(rows), {})
        self._remember(rows, self.desk.pieces[-1].object)

    def _old(self) -> Iterator[Row]:
        """Documents of before that were not met; those that their host, or their feed, refuses now are none any more."""
        for row in self.before.pages(ChainMap[str, Any](self.kept, self.refused)):
            url = row[KEY].partition("#")[0]  # an entry is of its feed
            host, feed = self.hosts.get(host_of(url)), self.kept.get(url, {})
            refusal = host.refuses(url) if host is not None else None
            if feed.get("reason") == "opt_out":
                refusal = "opt_out", feed["detail"]
            if refusal is None or refusal[0] not in ("robots", "opt_out"):
                yield row
                continue
            said = refusal[1] if refusal[0] == "opt_out" else row["opt_out"]
            yield {**row, "reason": refusal[0], "detail": refusal[1], "opt_out": said, "body": None}

    def _rest(self) -> Iterator[Row]:
        """The addresses that were not asked for."""
        for url in sorted(self.refused):
            reason, detail = self.refused[url]
            met = self.met.get(url) or self.ways[url]
            yield row_of(
                url, reason=reason, detail=detail, depth=met.depth,
                opt_out=detail if reason == "opt_out" else None, found_on=met.found_on,
            )  # fmt: skip
