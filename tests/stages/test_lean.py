"""Heavy packages stay out of the workers that do not need them, and can still be used by those that do."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import pyarrow as pa
from curate.filter.gopher import GopherQuality
from curate.privacy.pii import Pii
table = pa.table({"id": ["a"], "text": ["Write to jane@example.com about the harbour."], "source_uri": ["a#0"]})
GopherQuality().open()(table)
Pii().open()(table)
assert "torch" not in sys.modules, "torch was imported"
import torch
import transformers
assert transformers.is_torch_available()
print(torch.ones(2).sum().item())
"""


@pytest.mark.slow
def test_words_and_pii_do_without_torch_and_leave_it_usable():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "2.0"


def test_a_hidden_package_is_hidden_only_inside():
    from curate.stages.lean import without

    with without("this_is_not_installed"):
        assert sys.modules["this_is_not_installed"] is None
    assert "this_is_not_installed" not in sys.modules
