"""Run transformers' own tests of Perceivers with every model accelerated.

    python tools/transformers_suite.py ~/transformers
    python tools/transformers_suite.py ~/transformers -k "save_load or training"

The folder is a checkout of transformers' repository, of the release that is installed. Its tests
need the packages ``parameterized`` and ``datasets``. Further arguments are passed to pytest.

Each model with a head is accelerated as soon as it is made. Each call that the core computes is
repeated by transformers' own code, and the outputs are compared. Tests that fail run again without
acceleration. Prints counts of tests, models and calls, and why models were left as they are.
The exit status is 1 if outputs differ, if a test fails only with accelerated models, or if no model
is accelerated.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.perceiver import modeling_perceiver

from ivy_models import accelerate
from ivy_models.checkpoints.huggingface.config import CLASSES
from ivy_models.shells.accelerated.model import AcceleratedPerceiverModel
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

TESTS = "tests/models/perceiver/test_modeling_perceiver.py"
OPTIONS = ["-q", "-p", "no:cacheprovider", "-W", "ignore", "--tb=short"]
TOLERANCES = {torch.float16: 1e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest absolute difference over the largest magnitude, for each type."""


class Tests:
    """A plugin of pytest that counts the outcomes of tests."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        is_subtest = type(report) is not pytest.TestReport
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)
        elif not is_subtest and (report.when == "call" or report.skipped):
            self.outcomes[report.outcome] += 1


class Models:
    """Accelerates new models and compares their calls."""

    def __init__(self) -> None:
        self.accelerated = 0
        self.left: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.differences: list[str] = []
        self.largest = 0.0
        self._is_nested = False

    def patch(self, patches: pytest.MonkeyPatch) -> None:
        """Accelerate every model from now on, until the patches are undone."""
        for name in CLASSES:
            kind = getattr(modeling_perceiver, name)
            patches.setattr(kind, "__init__", self._accelerating(kind.__init__))
        run = PerceiverIOCore.run

        def counted(*arguments: Any) -> Any:
            self.calls["core"] += 1
            return run(*arguments)

        patches.setattr(PerceiverIOCore, "run", counted)
        forward = self._comparing(AcceleratedPerceiverModel.forward)
        patches.setattr(AcceleratedPerceiverModel, "forward", forward)

    def _accelerating(self, make: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(make)
        def made(model: Any, *arguments: Any, **named: Any) -> None:
            make(model, *arguments, **named)
            if self._is_nested:  # a model that accelerate() makes to compare with
                return
            self._is_nested = True
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    accelerate(model)
            finally:
                self._is_nested = False
            if type(model.perceiver) is AcceleratedPerceiverModel:
                self.accelerated += 1
            else:
                self.left[str(caught[-1].message).partition(": ")[2]] += 1

        return made

    def _comparing(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def compared(perceiver: Any, *arguments: Any, **named: Any) -> Any:
            before = self.calls["core"]
            output = forward(perceiver, *arguments, **named)
            if torch.compiler.is_compiling():
                return output
            if self.calls["core"] == before:
                self.calls["own code"] += 1
                return output
            with torch.no_grad(), torch.random.fork_rng():
                own = modeling_perceiver.PerceiverModel.forward(perceiver, *arguments, **named)
            self._compare(output, own)
            return output

        return compared

    def _compare(self, output: Any, own: Any) -> None:
        self.calls["compared"] += 1
        pairs = list(zip(tensors(output), tensors(own), strict=True))
        for ours, theirs in pairs:
            if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
                difference = float("inf")
            else:
                wide = theirs.double()
                scale = wide.abs().max().clamp_min(1e-30)
                difference = float((ours.double() - wide).abs().max() / scale)
            self.largest = max(self.largest, difference)
            if not difference <= TOLERANCES[theirs.dtype]:
                test = os.environ.get("PYTEST_CURRENT_TEST", "")
                self.differences.append(f"{test}: {tuple(theirs.shape)}: {difference:.2g}")


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of an output, in order."""
    if isinstance(value, torch.Tensor):
        yield value.detach()
    elif isinstance(value, (Mapping, Sequence)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from tensors(part)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a checkout of transformers")
    arguments, options = parser.parse_known_args()
    os.chdir(arguments.folder)
    sys.path.insert(0, ".")
    options = [*OPTIONS, *options]

    tests, models = Tests(), Models()
    with pytest.MonkeyPatch.context() as patches:
        models.patch(patches)
        pytest.main([TESTS, *options], plugins=[tests])
    own_failures: list[str] = []
    if tests.failed:
        plain = Tests()
        pytest.main([*tests.failed, *OPTIONS], plugins=[plain])
        own_failures = plain.failed
    failed = [name for name in tests.failed if name not in own_failures]

    passed, skipped = tests.outcomes["passed"], tests.outcomes["skipped"]
    print(f"\ntests: {passed} passed, {skipped} skipped, {len(tests.failed)} failed, of which")
    print(f"    {len(failed)} pass without acceleration")
    print(f"models: {models.accelerated} accelerated, {models.left.total()} left as they are")
    for reason, number in models.left.most_common():
        print(f"    {number}: {reason}")
    print(f"calls: {models.calls['compared']} of the core, each compared; ", end="")
    print(f"{models.calls['own code']} of transformers' own code")
    print(f"largest difference: {models.largest:.2g}; {len(models.differences)} are too large")
    print(*models.differences, *failed, sep="\n")
    if not models.accelerated:
        print("No model was accelerated, so nothing was compared.")
    return 1 if models.differences or failed or not models.accelerated else 0


if __name__ == "__main__":
    sys.exit(main())
