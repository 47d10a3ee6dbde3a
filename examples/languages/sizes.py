"""Measure the accuracy on pieces for validation by their size.

    python examples/languages/sizes.py MODEL /tmp/languages

MODEL is a folder of ``ivy-models train``, and the other folder that of ``pieces.py``. For each
size in bytes it prints the mean over the languages of the share that is right, and the most
frequent confusions. Choices, such as that of the data, are made by these numbers.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from threshold import answers, read

from ivy_models import PerceiverIO


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    model = PerceiverIO.from_pretrained(arguments.model)
    for path in sorted((arguments.data / "sizes").glob("*.csv"), key=lambda path: int(path.stem)):
        texts, languages = read(path)
        found, _ = answers(model, texts)
        right = [np.mean(found[languages == each] == each) for each in np.unique(languages)]
        wrong = Counter(zip(languages[found != languages], found[found != languages], strict=True))
        pairs = ", ".join(f"{own} as {other} {n}" for (own, other), n in wrong.most_common(8))
        print(f"{path.stem:>4} bytes: {np.mean(right):.1%}; {pairs}", flush=True)


if __name__ == "__main__":
    main()
