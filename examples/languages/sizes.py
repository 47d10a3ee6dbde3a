"""Measure the accuracy on pieces for validation by their size.

    python examples/languages/sizes.py MODEL /tmp/languages

MODEL is a folder of ``ivy-models train``, and the other folder that of ``pieces.py``. For each
size in bytes it prints the mean over the languages of the share that is right, and the most
frequent confusions. Choices, such as that of the data, are made by these numbers.
"""

from collections import Counter

import numpy as np
from threshold import answers, model_and_data, read


def main() -> None:
    model, data = model_and_data(__doc__)
    for path in sorted((data / "sizes").glob("*.csv"), key=lambda path: int(path.stem)):
        texts, languages = read(path)
        found, _ = answers(model, texts)
        right = [np.mean(found[languages == each] == each) for each in np.unique(languages)]
        wrong = Counter(zip(languages[found != languages], found[found != languages], strict=True))
        pairs = ", ".join(f"{own} as {other} {n}" for (own, other), n in wrong.most_common(8))
        print(f"{path.stem:>4} bytes: {np.mean(right):.1%}; {pairs}", flush=True)


if __name__ == "__main__":
    main()
