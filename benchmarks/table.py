"""Tables from CSV to a model: the table stages and `model.kind: mlp` beside scikit-learn, on the same splits.

    python benchmarks/table.py [--seeds 3] [--rows 50000]

Quality: accuracy, or R squared of `diabetes`, on the test split (30%), a median over splits. The tables are those in
scikit-learn (iris, wine, breast_cancer, diabetes), with a tenth of the cells emptied and some numbers written with
separators, and the customers of examples/table. scikit-learn has the same cells as numbers: SimpleImputer (median, with
indicators), StandardScaler, OneHotEncoder, then LogisticRegression or Ridge, and MLPClassifier or MLPRegressor. Our
features are given to its linear model, too. Speed: CPU seconds of the stages over `--rows` customers (a whole run
less one of `split` alone), and of pandas and scikit-learn doing as much of it as they do.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import machine
from minhash import cpu_seconds

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "table"
STAGES = ("table_types", "table_duplicates", "table_outliers", "table_missing", "table_features")


def tables() -> dict[str, tuple[list[dict[str, Any]], str]]:
    """Rows as their CSV has them, by name, each with the label's column."""
    from sklearn import datasets

    sys.path.insert(0, str(EXAMPLE))
    from make_customers import customers

    found: dict[str, tuple[list[dict[str, Any]], str]] = {}
    for name in ("iris", "wine", "breast_cancer", "diabetes"):
        given: Any = getattr(datasets, f"load_{name}")(as_frame=True).frame
        draw, rows = random.Random(1), []
        for record in given.to_dict("records"):
            label = record.pop("target")
            cells = {key.replace(" ", "_"): "" if draw.random() < 0.1 else repr(one) for key, one in record.items()}
            rows.append({**cells, "target": str(label if name == "diabetes" else f"c{int(label)}")})
        found[name] = rows, "target"
    found["customers"] = [row for row in customers(2000) if row["left"]], "left"
    return found


def written(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def version(folder: Path, rows: list[dict[str, Any]], label: str, seed: int, stages: tuple[str, ...] = STAGES) -> Any:
    """The version that the stages make of rows."""
    import curate

    written(folder / "in.csv", rows)
    split = {"stage": "split", "train": 0.6, "validation": 0.1, "test": 0.3, "seed": seed}
    pipeline = {
        "dataset": "t",
        "sources": [{"stage": "files", "paths": ["in.csv"], "text": None}],
        "stages": [split, *({"stage": one, "label": label} for one in stages if one != "table_duplicates")],
    }
    (folder / "p.yaml").write_text(json.dumps(pipeline))
    curate.run(folder / "p.yaml", workers=1)
    return curate.open_dataset("t", folder / ".curate")


def trained(folder: Path, label: str, *, regression: bool) -> float:
    """The test metric of our model: accuracy, or R squared."""
    from sklearn.metrics import r2_score

    from curate import open_dataset
    from curate.evaluation.models.headed import open_headed
    from curate.train.run import train_run

    config = {
        "dataset": "t", "run": "m", "epochs": 60, "objective": {"kind": "classification", "regression": regression},
        "data": {"features": "features", "label": label},
        "model": {"kind": "mlp", "width": 64, "layers": 1, "feed_forward": 128, "dropout": 0.2}, "batch": {"sequences": 32},
        "checkpoint_every": 1000, "validation": {"every": 1000},
    }  # fmt: skip
    (folder / "train.yaml").write_text(json.dumps(config))
    train_run(folder / "train.yaml", overrides=[])
    model: Any = open_headed(str(folder / "runs" / "m"))
    rows = open_dataset("t", folder / ".curate").arrow("test").to_pylist()
    logits, _ = model.read([""] * len(rows), None, model.features(rows))
    if regression:
        return float(r2_score([row[label] for row in rows], logits[:, 0]))
    return statistics.mean(
        model.labels[one] == str(row[label]) for one, row in zip(logits.argmax(1), rows, strict=True)
    )


def theirs(dataset: Any, label: str, *, regression: bool) -> dict[str, float]:
    """Test metrics of scikit-learn: on cells, by its own imputing and scaling; and its linear model on our features."""
    import pandas
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    whole = dataset.arrow().to_pandas()
    own = [
        name
        for name in whole.columns
        if name.endswith("_missing") or name in ("id", "source_uri", "features", "outliers")
    ]
    frame = whole.drop(columns=own)
    for name in (name for name in frame.columns if f"{name}_missing" in whole.columns):
        frame[name] = frame[name].mask(whole[f"{name}_missing"] == 1)
    if "since" in frame.columns:
        frame["since"] = (pandas.to_datetime(frame["since"]) - pandas.Timestamp("1970-01-01")).dt.days
        frame = frame.drop(columns=["customer"])
    train, test = frame[frame["split"] == "train"], frame[frame["split"] == "test"]
    numbers = [name for name in frame.columns if frame[name].dtype.kind in "fi" and name != label]
    others = [name for name in frame.columns if name not in (*numbers, label, "split")]
    found = {}
    linear, layers = (Ridge(), MLPRegressor) if regression else (LogisticRegression(max_iter=5000), MLPClassifier)
    for name, last in (("linear", linear), ("mlp", layers(hidden_layer_sizes=(64,), max_iter=500, random_state=1))):
        cells = make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore"), others),
        )
        model = make_pipeline(cells, last).fit(train.drop(columns=[label]), train[label])
        found[f"scikit-learn {name}"] = float(model.score(test.drop(columns=[label]), test[label]))
    X, y = dataset.arrays(label, "train")
    found["its linear on our features"] = float(linear.fit(X, y).score(*dataset.arrays(label, "test")))
    return found


def quality(seeds: int) -> None:
    """Print the medians over splits."""
    for name, (rows, label) in tables().items():
        regression, scores = name == "diabetes", dict[str, list[float]]()
        for seed in range(1, seeds + 1):
            with tempfile.TemporaryDirectory() as folder:
                dataset = version(Path(folder), rows, label, seed)
                found = {
                    **theirs(dataset, label, regression=regression),
                    "ours": trained(Path(folder), label, regression=regression),
                }
            for key, value in found.items():
                scores.setdefault(key, []).append(value)
        told = ", ".join(
            f"{key} {statistics.median(some):.3f} ({min(some):.3f}-{max(some):.3f})" for key, some in scores.items()
        )
        print(f"{name}: {told}", flush=True)


def speed(count: int) -> None:
    """Print CPU seconds of the stages, and of pandas and scikit-learn."""
    import pandas
    from sklearn.feature_selection import mutual_info_classif
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    sys.path.insert(0, str(EXAMPLE))
    from make_customers import customers

    rows = customers(count)
    taken: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for key, stages in (("split alone", ()), ("all", STAGES)):
            folder = Path(name) / key.replace(" ", "")
            folder.mkdir()
            began = cpu_seconds()
            version(folder, rows, "left", 1, stages)
            taken[key] = cpu_seconds() - began
        began = cpu_seconds()
        frame = pandas.read_csv(folder / "in.csv", na_values=["n/a", "unknown"], thousands=",").dropna(subset=["left"])
        frame["used"] = frame["used"].str.rstrip("%").astype(float)
        frame["since"] = (pandas.to_datetime(frame["since"], dayfirst=True) - pandas.Timestamp("1970-01-01")).dt.days
        frame["city"] = frame["city"].str.strip().str.lower()
        numbers = ["age", "since", "months", "bill", "used"]
        filled = SimpleImputer(strategy="median", add_indicator=True).fit_transform(frame[numbers])
        StandardScaler().fit_transform(filled)
        OneHotEncoder().fit_transform(frame[["plan", "city"]])
        mutual_info_classif(filled, frame["left"])
        taken["pandas and scikit-learn"] = cpu_seconds() - began
    told = ", ".join(f"{key} {value:.2f} s" for key, value in taken.items())
    print(f"{count:,} rows: {told}; the stages {taken['all'] - taken['split alone']:.2f} s", flush=True)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=50_000)
    given = parser.parse_args()
    print(machine(), flush=True)
    speed(given.rows)
    quality(given.seeds)


if __name__ == "__main__":
    main()
