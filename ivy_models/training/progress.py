"""What a run shows on stderr: a progress bar on a terminal, and a line for each epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tqdm import tqdm

from ivy_models.training.measures import validation_text


class Progress:
    """The progress bar of a run.

    Parameters
    ----------
    steps
        Number of steps of the whole run.
    done
        Number of steps that an earlier run made.
    """

    def __init__(self, steps: int, done: int):
        hidden = not sys.stderr.isatty()
        self._bar = tqdm(total=steps, initial=done, unit="step", disable=hidden, leave=False)

    def step(self, loss: float, learning_rate: float) -> None:
        self._bar.set_postfix_str(f"loss {loss:.3f}, rate {learning_rate:.1e}", refresh=False)
        self._bar.update()

    def epoch(self, row: Mapping[str, float], is_best: bool) -> None:
        """Print the results of an epoch."""
        line = f"epoch {row['epoch']:g}: loss {row['loss']:.4g}; validation: {validation_text(row)}"
        self._bar.write(f"{line} (best)" if is_best else line, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
