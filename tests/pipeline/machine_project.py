"""A project, its store, and what the store must say: what a fresh store says of the same files in another folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from secrets import token_hex

from machine_server import Server
from machine_world import World, asked, differences, digest

from curate.dataset.remote import LEASE_SECONDS
from curate.dataset.store import blobs_at
from tests.object_store import Server as ObjectStore

SHOWN = 12
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where the folders stand: hundreds of small files a run, each written durably, and no power cut is tested here."""
REFUSED = {2, 3, 4}
"""Exit codes of a run that says why it gives no newest version."""


class Project:
    """Notes every step in a sentence, so that a failure tells the whole story.

    The truths are what fresh stores say, by the hash of the project's files: they hold for all projects of a process. Where
    there is an object store, the store is there, and the truths come from folders all the same.
    """

    server: Server | None = None
    object_store: ObjectStore | None = None
    truths: dict[str, dict] = {}

    def __init__(self):
        Project.server = Project.server or Server()
        self.folder = tempfile.TemporaryDirectory(prefix="machine-", dir=MEMORY)
        root = Path(self.folder.name, "project")
        self.object_store = Project.object_store
        self.store = f"s3://bucket/{token_hex(4)}" if self.object_store else str(Path(self.folder.name, "store"))
        root.mkdir()
        self.world = World(root)
        self.sentences: list[str] = []
        self.head: dict | None = None
        self.tags: dict[str, dict] = {}
        self.has_failed = False
        self.has_lost = False

    def close(self):
        self.folder.cleanup()

    @classmethod
    def end(cls):
        """Stop the server of all projects."""
        if cls.server:
            cls.server.close()
            cls.server = None

    def note(self, sentence):
        self.sentences.append(sentence)

    def check(self, holds, problem):
        if not holds:
            self.has_failed = True
            told = "\n".join(f"  {number}. {one}" for number, one in enumerate(self.sentences, 1))
            raise AssertionError(f"after these steps:\n{told}\n{problem}")

    # ---- asking

    def curate(self, *arguments, store=None, folder=None, **options):
        where = ["--store", store or self.store, "--json"]
        return self.server.curate(folder or self.world.root, *arguments, *where, **options)

    def do(self, sentence, *arguments):
        """A command that must succeed; what it says."""
        self.note(sentence)
        done = self.curate(*arguments)
        self.check(done.code == 0, f"it fails with exit code {done.code}:\n{done.err}")
        return done.json

    def run(self, sentence, *options, **more):
        self.note(sentence)
        return self.curate("run", "pipeline.yaml", *options, **more)

    def look(self, name, identities, store=None):
        looked = self.server.look(self.world.root, store or self.store, name, identities)
        self.check(looked.code == 0, f"`{name}` cannot be read:\n{looked.err}")
        return looked.json

    def says(self, ran, identities, store=None):
        """What a run said, and the version that it made."""
        if ran.code:
            return {"exit": ran.code}
        told = ran.json
        counts = {stage.pop("id"): stage for stage in told["stages"]}
        for stage in counts.values():
            del stage["seconds"]
        return {"exit": 0, **self.look("machine", identities, store), "counts": told["documents"], "stages": counts}

    def truth(self, files=None):
        """What a fresh store says of this project, or of these files."""
        files = files or self.world.files()
        key = digest(files)
        if key not in self.truths:
            with tempfile.TemporaryDirectory(prefix="truth-", dir=MEMORY) as folder:
                root, store = Path(folder, "a", "copy"), Path(folder, "store")
                for name, content in files.items():
                    path = root / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                ran = self.curate("run", "pipeline.yaml", "--workers", 1, store=store, folder=root)
                self.check(ran.code == 0 or ran.code in REFUSED, f"a fresh store fails:\n{ran.err}")
                self.truths[key] = self.says(ran, asked(files), store)
        return self.truths[key]

    # ---- comparing

    def compare(self, ran):
        """A run that nothing disturbed says what a fresh store says."""
        self.check(ran.code == 0 or ran.code in REFUSED, f"the run fails with exit code {ran.code}:\n{ran.err}")
        said, truth = self.says(ran, asked(self.world.files())), self.truth()
        self.check(said == truth, _told(said, truth))
        if said["exit"] == 0:
            self.head = said

    def compare_with_both(self, ran, before):
        """A run under which a file was edited refuses, or says what a fresh store says of the files before or after."""
        if ran.code in REFUSED:
            return self.head_stays()
        self.check(ran.code == 0, f"the run fails with exit code {ran.code}:\n{ran.err}")
        for files in (self.world.files(), before):
            said = self.says(ran, asked(files))
            if said == self.truth(files):
                self.head = said
                return None
        told = _told(said, self.truth(before))
        return self.check(False, f"what it says is true neither of the files before nor of those after\n{told}")

    def head_stays(self):
        """What was the newest version still is, and says the same."""
        if self.head:
            self.stays("machine", self.head)

    def head_stays_or_is_new(self):
        """After a run that ended at any moment, the newest version is the one before or the one that it was to make."""
        if self.head:
            said, truth = self.look("machine", []), self.truth()
            if said["version"] == truth.get("version"):
                self.head = truth
            self.head_stays()

    def stays(self, name, expected):
        said = self.look(name, list(expected["why"]))
        wanted = {key: expected[key] for key in said}
        self.check(said == wanted, f"`{name}` says something else than when it was made\n" + _told(said, wanted))

    def the_dead_are_known(self):
        """A minute passes in an object store: the leases of killed runs are over."""
        if self.object_store:
            self.object_store.age(f"{self.store.removeprefix('s3://bucket/')}/leases/", LEASE_SECONDS + 2)

    def lose_object(self, number):
        """Remove a file of the store that holds data."""
        blobs = blobs_at(self.store)
        objects = sorted(blob.name for blob in blobs.list("objects"))
        if objects:
            lost = objects[number % len(objects)]
            self.note(f"lose {lost[:23]} ({number % len(objects) + 1} of {len(objects)})")
            blobs.delete(lost)
            self.head, self.tags, self.has_lost = None, {}, True

    def collect_garbage(self):
        """Where an object was lost, nobody may know what a version that stays needs: then nothing is removed."""
        self.note("collect garbage")
        done = self.curate("data", "gc", "--keep-days", 0)
        refused = self.has_lost and done.code == 2 and "is missing" in done.err
        self.check(done.code == 0 or refused, f"it fails with exit code {done.code}:\n{done.err}")


def _told(said, truth):
    lines = differences(said, truth)
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(f"  {line}" for line in ["(what this store says / a fresh store):", *lines[:SHOWN], *more])
