"""The order of a repository's files by their imports: what is imported comes before what imports it.

Depth first over the files in the order of their paths, dependencies first; an import that leads back to a file which is under
way closes a cycle, and is passed over. So the order is one, whatever the machine, and costs a look at each import.
After DeepSeek-Coder (Guo et al. 2024, section 2.2), which sorts files of a repository before it makes one example of them.

Names are resolved within the repository alone: by path (`#include "a/b.h"`, `./x`), from a root of packages (`import a.b`,
`src/a/b.py`), or a module's own prefix (Go). What leads nowhere is a library's.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["dependency_order", "imported"]

PYTHON = re.compile(
    r"^[ \t]*+(?:from[ \t]++([\w.]++)[ \t]++import[ \t]++\(?([^#\n)]*)|import[ \t]++([\w., \t]++))", re.MULTILINE
)
SCRIPT = re.compile(r"""(?:\bfrom\s*+|\bimport\s*+(?:\(\s*+)?|\brequire\s*+\(\s*+)["'](\.[^"'\n]*+)["']""")
INCLUDE = re.compile(r'^[ \t]*+#[ \t]*+include[ \t]*+["<]([^">\n]++)[">]', re.MULTILINE)
JAVA = re.compile(r"^[ \t]*+import[ \t]++(?:static[ \t]++)?([\w.]++)", re.MULTILINE)
RUST = re.compile(
    r"^[ \t]*+(?:pub(?:\([^)\n]{0,80}\))?[ \t]++)?mod[ \t]++(\w++)[ \t]*+;|\bcrate::(\w++(?:::\w++)*+)", re.MULTILINE
)
GO = re.compile(r'"([\w.~-]++(?:/[\w.~-]++)++)"')
DEEP, UNCLEAR = 12, 50
"""Folders of a name that are looked at; files that a name may mean: of more it means none. So hostile files cost no more."""
C = (".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".cu", ".cuh", ".m", ".mm")
SCRIPTS = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".mts", ".cts", ".vue", ".svelte")
JVM = (".java", ".kt", ".scala", ".groovy")
KINDS = ((".py", ".pyi"), C, SCRIPTS, JVM, (".rs",), (".go",))
"""Endings of languages whose files import one another."""


def imported(path: str, text: str) -> list[str]:
    """What a file imports, as paths that may be: each with or without an ending, `./x` where it is relative to a place."""
    folder = posixpath.dirname(path)
    if path.endswith((".py", ".pyi")):
        return list(_python(folder, text))
    if path.endswith(C):
        return [one for name in INCLUDE.findall(text) for one in (f"./{posixpath.join(folder, name)}", name)]
    if path.endswith(SCRIPTS):
        return [f"./{posixpath.normpath(posixpath.join(folder, name))}" for name in SCRIPT.findall(text)]
    if path.endswith(JVM):
        return [name.replace(".", "/") for name in JAVA.findall(text)]
    if path.endswith(".rs"):
        return list(_rust(path, folder, text))
    return GO.findall(text[: text.find("\nfunc ")]) if path.endswith(".go") else []


def _python(folder: str, text: str) -> Iterator[str]:
    for base, names, plain in PYTHON.findall(text):
        for name in plain.split(","):
            if name.strip():
                yield name.split()[0].replace(".", "/")
        if not base:
            continue
        rest = base.lstrip(".")
        up = len(base) - len(rest)
        place = rest.replace(".", "/")
        if up:
            place = "./" + posixpath.normpath(posixpath.join(folder, "../" * (up - 1), place))
        for name in names.split(","):
            if name.strip():
                yield f"{place}/{name.split()[0]}"
        yield place


def _rust(path: str, folder: str, text: str) -> Iterator[str]:
    stem = posixpath.basename(path).removesuffix(".rs")
    inner = folder if stem in ("mod", "lib", "main") else f"{folder}/{stem}"
    for module, used in RUST.findall(text):
        if module:
            yield f"./{inner}/{module}"
        else:
            parts = used.split("::", DEEP)[:DEEP]
            yield from ("/".join(["src", *parts[:count]]) for count in range(len(parts), 0, -1))


def dependency_order(paths: Sequence[str], imports: Mapping[str, Sequence[str]]) -> list[str]:
    """The paths, dependencies first.

    Args:
        paths: All files, in the order that holds where imports say nothing.
        imports: What `imported` says of those that import something.
    """
    files = _Files(paths)
    order: list[str] = []
    seen = set[str]()
    for first in paths:
        stack: list[tuple[str, Iterator[str]]] = []
        if first not in seen:
            seen.add(first)
            stack.append((first, _needs(first, imports, files)))
        while stack:
            path, needs = stack[-1]
            following = next((one for one in needs if one not in seen), None)
            if following is None:
                order.append(path)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, _needs(following, imports, files)))
    return order


def _needs(path: str, imports: Mapping[str, Sequence[str]], files: _Files) -> Iterator[str]:
    """Files that a file imports, in the order of their paths."""
    found = set[str]()
    for name in imports.get(path, ()):
        found.update(files.meant(name, _kind(path)))
    return iter(sorted(found - {path}))


class _Files:
    """Files by their names; what a name means is found once."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.known, self.ending_in = set(paths), _by_ending(paths)
        self._found: dict[tuple[str, int | None, bool], Sequence[str]] = {}

    def meant(self, name: str, kind: int | None) -> Sequence[str]:
        """The files that a name means in a file of a kind."""
        whole = name.startswith("./")
        place = posixpath.normpath(name[2:]) if whole else name
        if whole and place in self.known:
            return [place]
        key = (_stem(place), kind, whole)
        if key not in self._found:
            self._found[key] = self._search(*key)
        return self._found[key]

    def _search(self, stem: str, kind: int | None, whole: bool) -> Sequence[str]:
        found = [one for one in self.ending_in.get(stem, ()) if _kind(one) == kind]
        if whole:
            found = [one for one in found if _stem(one) == stem]
        elif not found and kind == KINDS.index((".go",)):  # a package is a folder behind the module's own name
            parts = stem.split("/")
            tails = ("/".join(parts[at:]) for at in range(max(1, len(parts) - DEEP), len(parts)))
            found = next((self.ending_in[f"{tail}/"] for tail in tails if f"{tail}/" in self.ending_in), [])
            return found if len(found) <= UNCLEAR else ()
        near = min((len(_stem(one)) for one in found), default=0)
        found = [one for one in found if len(_stem(one)) == near]
        return found if len(found) <= UNCLEAR else ()


def _kind(path: str) -> int | None:
    """The kind of a file's language, by number; those of one import one another."""
    return next((number for number, endings in enumerate(KINDS) if path.endswith(endings)), None)


def _stem(path: str) -> str:
    """A path without its ending; of a package's own file (`__init__`, `index`, `mod`), its folder."""
    folder, slash, name = path.rpartition("/")
    stem = name.partition(".")[0] if not name.startswith(".") else name
    return folder if stem in ("__init__", "index", "mod") and slash else f"{folder}{slash}{stem}"


def _by_ending(paths: Sequence[str]) -> dict[str, list[str]]:
    """Files by each way to name them from a folder above; files of Go also by their folder, with a slash behind."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        if _kind(path) is None:
            continue
        parts = _stem(path).split("/")[-DEEP:]
        for at in range(len(parts)):
            found["/".join(parts[at:])].append(path)
        if path.endswith(".go"):
            for at in range(len(parts) - 1):
                found["/".join(parts[at:-1]) + "/"].append(path)
    return dict(found)
