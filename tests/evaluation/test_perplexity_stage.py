"""The stage `perplexity` with a model that `curate train` made."""

from __future__ import annotations

import numpy as np
import pytest

import curate
from curate.errors import CurateError
from curate.evaluation.models.opened import open_model
from curate.quality.perplexity import Perplexity
from curate.quality.reading import read_costs


@pytest.mark.slow
def test_a_run_of_train_makes_columns_that_are_a_difficulty(trained, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "a fine day"}\n{"id": "b", "text": "qqq zzz xxx"}\n')
    (tmp_path / "p.yaml").write_text(
        "dataset: d\nsources: [{stage: files, paths: [in.jsonl]}]\n"
        f"stages: [{{stage: perplexity, model: {trained('text')}, prefix: own_}}]\n"
    )
    curate.run(tmp_path / "p.yaml", workers=1)
    table = curate.open_dataset("d", tmp_path / ".curate").arrow()
    nats, tokens = read_costs(open_model(str(trained("text"))), table["text"].to_pylist())
    assert table["own_perplexity"].to_pylist() == np.exp(nats / tokens).tolist()
    assert [path.name for path in Perplexity(model=str(trained("text"))).model_files()] == [
        "checkpoint.json", "tokenizer.json"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_model_that_does_not_predict_the_next_token_is_refused(trained):
    with pytest.raises(CurateError, match="does not predict the next token"):
        Perplexity(model=str(trained("mood"))).open()
