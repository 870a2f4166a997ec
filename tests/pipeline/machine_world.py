"""The world outside of a store, for the state machine: input files, a pipeline file, the user's own code.

All of it is small and made here, from numbers: document `n` has the text `TEXTS[n % len(TEXTS)]`.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent / "machine"
CODE = ("machine_stages.py", "machine_words.py", "machine_block.py")
MODEL = "words.txt"
TEXTS = (
    "The river runs past the old mill and into the town.",
    "A lamp stood on the stone table by the window, unlit.",
    "Rain fell all night; the river rose above the lower road.",
    "short",
    "Nobody in the village knew why the bell had been rung.",
    "aeiou aeiou eau oui aye, eerie audio: too many vowels",
    "The river runs past the old mill and into the town.",
    "Seventy-three sheep were counted on the hill at dusk.",
    "the RIVER runs past   the old mill and into the town.",
    "Er ging \u00fcber die Br\u00fccke, und der Flu\u00df war \u00fcber die Ufer getreten.",
    "They built the second bridge of stone, with nine arches.",
    "tiny text",
    "My try: why fly by dry sky? Myrrh, lynx, rhythm, syzygy.",
    "A map of the river, drawn on the back of a letter.",
)
FOLDERS = {"pages/*.jsonl": "pages", "more/*.jsonl": "more", "texts/*.txt": "texts"}
SETTINGS = {
    "mark.word": ("river", "the", "q"),
    "long.minimum": (20, 0, 54),
    "vowels.maximum": (0.4, 0.28, 0.5),
    "exact_duplicates.normalize": (False, True),
    "sample.fraction": (0.9, 0.5, 1.0),
    "sample.seed": (1, 2),
    "split.seed": (1, 2),
    "split.shares": ((0.8, 0.1, 0.1), (0.5, 0.25, 0.25)),
    "shard_megabytes": (0.0002, 0.001),
}
OPTIONAL = {
    "block": {"id": "block", "use": "machine_block.Unwanted", "words": MODEL},
    "near_duplicates": {"id": "near_duplicates", "stage": "near_duplicates", "similarity": 0.7},
    "text_statistics": {"id": "text_statistics", "stage": "text_statistics"},
}


class World:
    """A project's folder, and what was done to it."""

    def __init__(self, root: Path):
        self.root = root
        self.paths = ["pages/*.jsonl", "texts/*.txt"]
        self.settings = {name: values[0] for name, values in SETTINGS.items()}
        self.optional: set[str] = set()
        self.serial = 0
        self.before: dict[str, list[tuple[bytes, int]]] = {}
        for path in TEMPLATE.iterdir():
            if path.is_file():
                (root / path.name).write_bytes(path.read_bytes())
        for name, first, last in (("pages/a.jsonl", 0, 6), ("pages/b.jsonl", 6, 10), ("more/c.jsonl", 10, 14)):
            self._make(name, range(first, last))
        for number in range(2):
            self._make(f"texts/t{number}.txt", [number])
        self.write_pipeline()

    # ---- input files

    def inputs(self) -> list[str]:
        """All input files, those that `paths` reads first."""
        found = [path for folder in FOLDERS.values() for path in (self.root / folder).glob("*")]
        names = sorted(path.relative_to(self.root).as_posix() for path in found)
        return sorted(names, key=lambda name: not is_read(name, self.paths))

    def line(self, name: str, text: int) -> str:
        """One more document for a file."""
        words = TEXTS[text % len(TEXTS)]
        self.serial += 1
        identity = f"{Path(name).stem}{self.serial}"
        return (json.dumps({"id": identity, "text": words}) if name.endswith(".jsonl") else words) + "\n"

    def _make(self, name: str, texts) -> None:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(self.line(name, text) for text in texts))

    def remember(self, name: str) -> Path:
        """Keep what a file says now, so that it can be restored."""
        path = self.root / name
        self.before.setdefault(name, []).append((path.read_bytes(), path.stat().st_mtime_ns))
        return path

    def append(self, name: str, text: int) -> None:
        path = self.remember(name)
        with path.open("a") as file:
            file.write(self.line(name, text))

    def rewrite(self, name: str) -> None:
        """Other words of the same length in the same file, which keeps its inode, size and time."""
        path = self.remember(name)
        facts = path.stat()
        old, new = (b"the", b"tho") if b"the" in path.read_bytes() else (b"tho", b"the")
        path.write_bytes(path.read_bytes().replace(old, new))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    def replace(self, name: str, text: int) -> None:
        """A new file in the place of the old one."""
        path = self.remember(name)
        aside = path.with_name("aside")
        aside.write_text(self.line(name, text))
        aside.rename(path)

    def restore(self, name: str) -> bool:
        """Put back the bytes before the last edit, with the time that they had."""
        if not self.before.get(name):
            return False
        content, time = self.before[name].pop()
        path = self.root / name
        path.write_bytes(content)
        os.utime(path, ns=(time, time))
        return True

    def add(self, folder: str, texts) -> str:
        self.serial += 1
        name = f"{folder}/n{self.serial}.{'txt' if folder == 'texts' else 'jsonl'}"
        self._make(name, texts)
        return name

    def remove(self, name: str) -> bool:
        """Remove a file, but not the last one of its folder: a path must match something."""
        path = self.root / name
        if len(list(path.parent.iterdir())) == 1:
            return False
        path.unlink()
        self.before.pop(name, None)
        return True

    # ---- configuration and code

    def toggle_path(self, path: str) -> None:
        kept = [one for one in FOLDERS if (one in self.paths) != (one == path)]
        self.paths = kept or self.paths
        self.write_pipeline()

    def set(self, setting: str, number: int):
        self.settings[setting] = SETTINGS[setting][number % len(SETTINGS[setting])]
        self.write_pipeline()
        return self.settings[setting]

    def toggle_stage(self, name: str) -> None:
        self.optional ^= {name}
        self.write_pipeline()

    def edit_code(self, name: str, choice: int) -> None:
        path = self.root / name
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(f"CHOICE = {choice}\n" if line.startswith("CHOICE = ") else line for line in lines))

    def edit_model(self, words: str) -> None:
        (self.root / MODEL).write_text(words + "\n")

    def write_pipeline(self) -> None:
        of, shares = self._settings_of, self.settings["split.shares"]
        split = dict(zip(("train", "validation", "test"), shares, strict=True))
        stages = [
            {"id": "mark", "stage": "machine_stages:Mark", **of("mark")},
            {"id": "long", "stage": "machine_stages:Long", **of("long")},
            OPTIONAL["block"],
            {"id": "vowels", "stage": "machine_stages:Vowels", **of("vowels")},
            {"id": "exact_duplicates", "stage": "exact_duplicates", **of("exact_duplicates")},
            OPTIONAL["near_duplicates"],
            OPTIONAL["text_statistics"],
            {"id": "sample", "stage": "sample", **of("sample")},
            {"id": "split", "stage": "split", "seed": self.settings["split.seed"], **split},
        ]
        chosen = [stage for stage in stages if stage["id"] not in OPTIONAL or stage["id"] in self.optional]
        lines = [
            "dataset: machine",
            f"shard_megabytes: {self.settings['shard_megabytes']}",
            f"sources: [{json.dumps({'stage': 'files', 'paths': self.paths})}]",
            "stages:",
            *(f"  - {json.dumps(stage)}" for stage in chosen),
        ]
        (self.root / "pipeline.yaml").write_text("\n".join([*lines, ""]))

    def _settings_of(self, stage: str) -> dict:
        return {name.partition(".")[2]: value for name, value in self.settings.items() if name.startswith(f"{stage}.")}

    # ---- what it is now

    def files(self) -> dict[str, bytes]:
        """Every file of the project by name; the store does not stand in its folder."""
        found = sorted(path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in found}


def is_read(name: str, paths: list[str]) -> bool:
    """Whether one of the paths matches an input file."""
    return any(FOLDERS[path] == name.partition("/")[0] for path in paths)


def asked(files: dict[str, bytes]) -> list[str]:
    """Documents whose story is told, by id or place: the first and the last of every file that the pipeline reads."""
    chosen: dict[str, None] = {}
    paths = [path for path in FOLDERS if f'"{path}"' in files["pipeline.yaml"].decode()]
    for name, content in files.items():
        if not is_read(name, paths):
            continue
        if name.endswith(".jsonl"):
            lines = content.decode().splitlines()
            chosen |= {json.loads(line)["id"]: None for line in (lines[0], lines[-1])}
        else:
            chosen[f"{name}#0"] = None
    return list(chosen)


def digest(files: dict[str, bytes]) -> str:
    """One hash of a project."""
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(f"{name} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def differences(here, there, place: str = "") -> list[str]:
    """Where two JSON values differ, in words."""
    if here == there:
        return []
    if isinstance(here, dict) and isinstance(there, dict):
        keys = [*here, *(key for key in there if key not in here)]
        pairs = [(key, here.get(key, "(nothing)"), there.get(key, "(nothing)")) for key in keys]
        return [line for key, one, other in pairs for line in differences(one, other, f"{place}.{key}")]
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        pairs = enumerate(zip(here, there, strict=True))
        return [line for number, (one, other) in pairs for line in differences(one, other, f"{place}[{number}]")]
    return [f"{place.lstrip('.')}: {_short(here)} / {_short(there)}"]


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else f"{text[:120]} ... ({len(text)} characters)"
