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


ODD = """
import sys
from curate.stages.lean import import_lean
import_lean()
import pyarrow as pa
from curate.filter.c4 import C4
from curate.filter.gopher import GopherQuality, GopherRepetition
texts = ["Write to jane@example.com: the well-known harbour (isn't it?) of 1903... it's at http://a.b/c :)"]
for stage in (GopherQuality(), GopherRepetition(), C4()):
    stage.open()(pa.table({"text": pa.chunked_array([texts])}))
print(sorted({"spacy", "pandas", "scipy.linalg", "torch", "presidio_analyzer"} & set(sys.modules)))
import pandas
print(pa.array(pandas.Series([1.0, float("nan")])).null_count)
"""


def test_filters_of_english_load_neither_spacy_nor_pandas_and_pandas_is_known_once_it_is_there():
    done = subprocess.run([sys.executable, "-c", ODD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n") == ["[]", "1", ""]


FOREIGN = """
import sys
from curate.filter.gopher import GopherQuality
GopherQuality(language="deu").open()
print(sorted({"torch", "transformers", "presidio_analyzer"} & set(sys.modules)))
"""


def test_words_of_other_languages_load_nothing_that_other_packages_bring_to_spacy():
    done = subprocess.run([sys.executable, "-c", FOREIGN], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr[-2000:]


LATE = """
import pyarrow as pa
from curate.stages.lean import import_lean
import_lean()
print(pa.table({"a": [1]}).num_rows)
"""


def test_pyarrow_that_was_loaded_before_waits_for_nothing():
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr[-2000:]


def test_a_hidden_package_is_hidden_only_inside():
    from curate.stages.lean import without

    with without("this_is_not_installed"):
        assert sys.modules["this_is_not_installed"] is None
    assert "this_is_not_installed" not in sys.modules
