"""Measure how a threshold on the probability separates known from unknown languages.

    python examples/languages/threshold.py MODEL /tmp/languages

MODEL is a folder of ``ivy-models train``, and the other folder that of ``pieces.py``. For each
threshold it prints how many pieces of known languages are answered, how many of these answers are
right, and how many pieces of languages that the model has not learned are called unknown.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from ivy_models import PerceiverIO, identify_languages

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def model_and_data(doc: str) -> tuple[PerceiverIO, Path]:
    """The model and the folder that the command line names; ``doc`` begins with what it is for."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    return PerceiverIO.from_pretrained(arguments.model), arguments.data


def read(path: Path) -> tuple[list[str], np.ndarray]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if len(row["text"].encode()) >= 20]
    return [row["text"] for row in rows], np.array([row["language"] for row in rows])


def answers(model: PerceiverIO, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The most probable languages and their probabilities."""
    found = [language for _, language, _ in identify_languages(texts, model, threshold=0.0)]
    known = [("", 0.0) if each is None else (each.language, each.probability) for each in found]
    languages, probabilities = zip(*known, strict=True)
    return np.array(languages), np.array(probabilities)


def main() -> None:
    model, data = model_and_data(__doc__)
    texts, languages = read(data / "validation.csv")
    found, certain = answers(model, texts)
    others, _ = read(data / "unknown" / "pieces.csv")
    _, certain_of_others = answers(model, others)
    print(f"{len(texts):,} pieces of known languages, {np.mean(found == languages):.1%} right")
    print("threshold  answered  right of these  unknown languages refused")
    for threshold in THRESHOLDS:
        kept = certain >= threshold
        right = np.mean(found[kept] == languages[kept])
        refused = np.mean(certain_of_others < threshold)
        print(f"{threshold:9}  {np.mean(kept):8.1%}  {right:14.1%}  {refused:25.1%}")


if __name__ == "__main__":
    main()
