"""Models in threads and in other processes, and after a constructor that failed."""

import copy
import itertools
import multiprocessing
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import CHOSEN, other_process, unset_backends
from helpers.processes import python
from helpers.specs import small_spec

from ivy_models.errors import BackendError, SpecError, WeightsError
from ivy_models.ops import ops_named
from ivy_models.shells import compilation
from ivy_models.shells.compilation import CompiledCalls
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore
import ivy

START_METHODS = multiprocessing.get_all_start_methods()

CALLS = 20
"""Number of calls of each thread."""


@pytest.fixture(autouse=True)
def busy_switching():
    """Switch between threads as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(interval)
    unset_backends()


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def expected_of(model, data):
    """Results of NumPy."""
    unset_backends()
    with ivy.DefaultDevice("cpu"):
        return np.asarray(model(data).data)


def at_once(*jobs):
    """Run functions in threads that start together; return their results."""
    barrier = threading.Barrier(len(jobs))

    def run(job):
        barrier.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(run, job) for job in jobs]]


def calls(model, data, ops):
    """The results of many calls as NumPy arrays; each result must belong to the framework."""

    def job():
        outputs = [model(data).data for _ in range(CALLS)]
        assert all(map(ops.is_array, outputs))
        return [ops.to_numpy(output) for output in outputs]

    return job


def test_two_models_in_two_threads(backend):
    data, ops = image(2, 6, 5, 3), ops_named(backend)
    models = [PerceiverIO(small_spec(network_depth=n), seed=n) for n in (1, 2)]
    expected = [expected_of(model, data) for model in models]
    ivy.set_backend(backend)
    for results, logits in zip(
        at_once(*(calls(model, data, ops) for model in models)), expected, strict=True
    ):
        np.testing.assert_allclose(results, [logits] * CALLS, atol=1e-4)


def test_threads_evict_each_others_programs(monkeypatch):
    monkeypatch.setattr(compilation, "MAX_PROGRAMS", 1)
    sys.setswitchinterval(1e-6)
    compiled = CompiledCalls(PerceiverIOCore(small_spec()))

    def programs(name):
        return lambda: [compiled._kept((name, n), lambda n=n: (name, n)) for n in range(20_000)]

    for name, found in zip("ab", at_once(programs("a"), programs("b")), strict=True):
        assert found == [(name, n) for n in range(20_000)]


@pytest.mark.parametrize("shared", [False, True], ids=["two models", "one model"])
def test_two_backends_in_two_threads(shared):
    """Where Ivy is set to none, each call runs on the framework of its data."""
    frameworks = [ops_named(name) for name in CHOSEN]
    models = [PerceiverIO(small_spec(), seed=0 if shared else n) for n, _ in enumerate(frameworks)]
    if shared:
        models = models[:1] * len(frameworks)
    data = image(2, 6, 5, 3)
    expected = [expected_of(model, data) for model in models]
    jobs = [
        calls(model, ops.asarray(data), ops) for model, ops in zip(models, frameworks, strict=True)
    ]
    for results, logits in zip(at_once(*jobs), expected, strict=True):
        np.testing.assert_allclose(results, [logits] * CALLS, atol=1e-4)


class SwitchesMeanwhile:
    """Data for a call during which another thread sets Ivy's backend."""

    def __init__(self, data, name):
        self.data, self.name = data, name

    def __array__(self, dtype=None, copy=None):
        at_once(lambda: ivy.set_backend(self.name))
        return self.data


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(CHOSEN, 2)))
def test_a_backend_that_another_thread_sets_meanwhile_is_refused(before, after):
    model, data = PerceiverIO(small_spec()), image(2, 6, 5, 3)
    expected = expected_of(model, data)
    ivy.set_backend(before)
    with pytest.raises(BackendError, match=f"changed to '{after}' while a model ran on '{before}'"):
        model(SwitchesMeanwhile(data, after))
    np.testing.assert_allclose(ivy.to_numpy(model(data)), expected, atol=1e-4)


def test_native_modules_do_not_care_for_ivys_backend():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    if not {"torch", "jax"} <= {*CHOSEN}:
        pytest.skip("needs torch and JAX")
    model, data = PerceiverIO(small_spec()), image(2, 6, 5, 3)
    expected = expected_of(model, data)
    module, (apply, params) = model.to_torch_module(), model.to_jax()
    compiled = jax.jit(apply)

    def by_torch():
        with torch.no_grad():
            return [module(torch.from_numpy(data)).numpy() for _ in range(CALLS)]

    def set_others():
        for name in CHOSEN:
            ivy.set_backend(name)
        return [expected]

    for results in at_once(
        by_torch, lambda: [compiled(params, data) for _ in range(CALLS)], set_others
    ):
        np.testing.assert_allclose(results, [expected] * len(results), atol=1e-4)


FAILING = {
    "no spec": (SpecError, lambda: PerceiverIO(None)),
    "weights": (WeightsError, lambda: PerceiverIO(small_spec(), v={"latents": np.ones((7, 12))})),
    "device": (BackendError, lambda: PerceiverIO(small_spec(device="cuda:99"))),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_constructor_that_fails_leaves_nothing_behind(backend, kind):
    """Before and beside one that does not."""
    data = image(2, 6, 5, 3)
    expected = expected_of(PerceiverIO(small_spec()), data)
    ivy.set_backend(backend)
    error, constructor = FAILING[kind]

    def fail():
        with pytest.raises(error):
            constructor()

    fail()
    _, model, _ = at_once(fail, lambda: PerceiverIO(small_spec()), fail)
    np.testing.assert_allclose(ivy.to_numpy(model(data)), expected, atol=1e-4)


# Copies and other processes


@pytest.mark.slow
def test_copies_are_models_of_their_own(backend):
    """After calls too, whose compiled programs cannot be copied."""
    model, data = PerceiverIO(small_spec()), image(1, 6, 5, 3)
    model.labels = ("a", "b", "c", "d", "e")
    expected = ivy.to_numpy(model(data))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(ivy.to_numpy(twin(data)), expected)
        assert (twin.spec, twin.labels) == (model.spec, model.labels)
        twin.v["decoder"]["head"]["bias"] = twin.v["decoder"]["head"]["bias"] + 1
        np.testing.assert_allclose(ivy.to_numpy(twin(data)), expected + 1, atol=1e-4)
    np.testing.assert_array_equal(ivy.to_numpy(model(data)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHOSEN if name in ("numpy", "torch")])
@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & {*START_METHODS}))
def test_a_model_goes_to_another_process(name, method):
    python(other_process.MAIN, name, method)
