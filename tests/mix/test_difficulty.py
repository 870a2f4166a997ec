"""How hard documents are: the arithmetic, and that the trainer reads it."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest

import curate
from curate.mix.difficulty import BITS
from curate.mix.words import words_of

TEXTS = ["the cat, the DOG!", "", "zymurgy quixotic", "the the the the", "\u4f60\u597d the"]


def difficulties(folder, by, texts=TEXTS, **options):
    rows = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts)]
    (folder / "in.jsonl").write_text("\n".join(rows))
    (folder / "p.yaml").write_text(
        f"dataset: d\nsources: [{{stage: files, paths: [in.jsonl]}}]\nstages: [{{stage: difficulty, by: {by}}}]\n"
    )
    curate.run(folder / "p.yaml", workers=1, **options)
    return curate.open_dataset("d", folder / ".curate").arrow()["difficulty"].to_pylist()


def test_words_are_runs_of_letters_in_lower_case_and_characters_of_scripts_without_spaces():
    import pyarrow as pa

    found = words_of(pa.array(TEXTS))
    assert [found.different[word] for word in found.word][-3:] == ["\u4f60", "\u597d", "the"]
    assert found.text.tolist() == [0] * 4 + [2] * 2 + [3] * 4 + [4] * 3
    assert words_of(pa.array([], pa.string())).word.tolist() == []


def test_rarity_is_the_mean_and_the_sum_of_what_each_word_says(tmp_path):
    words = [["the", "cat", "the", "dog"], [], ["zymurgy", "quixotic"], ["the"] * 4, ["\u4f60", "\u597d", "the"]]
    counts = Counter(word for some in words for word in some)
    rarity = {word: -math.log((count + 1) / (13 + (1 << BITS))) for word, count in counts.items()}
    sums = [sum(rarity[word] for word in some) for some in words]
    assert difficulties(tmp_path, "total_rarity") == pytest.approx(sums, rel=1e-12)
    assert difficulties(tmp_path, "rarity") == pytest.approx(
        [total / max(len(some), 1) for total, some in zip(sums, words, strict=True)], rel=1e-12
    )


@pytest.mark.slow
def test_length_is_words_and_a_curriculum_begins_with_the_shortest(tmp_path):
    from curate.train.data.curriculum import CurriculumOrder
    from curate.train.settings.methods import CurriculumSettings

    assert difficulties(tmp_path, "length") == [4, 0, 2, 4, 3]
    order = CurriculumOrder(
        curate.open_dataset("d", tmp_path / ".curate").arrow()["difficulty"].to_numpy(),
        sequences=2,
        seed=1,
        steps=10,
        settings=CurriculumSettings(difficulty=True, start=0.2),
    )
    assert order.easiest.tolist() == [1, 2, 4, 0, 3]
