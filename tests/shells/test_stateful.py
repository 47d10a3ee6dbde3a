"""No sequence of operations on two models changes the results of either."""

import tempfile

import hypothesis.strategies as st
import numpy as np
import pytest
from helpers import CHOSEN, unset_backends
from helpers.specs import arguments_for, small_spec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ivy_models.errors import BackendError, InputError, SpecError, WeightsError
from ivy_models.layers.parameters import map_tree
from ivy_models.ops import ops_named
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore, initialise
import ivy

# Few, and of one size, because JAX and TensorFlow compile each kind of call of each model.
SPECS = [
    small_spec(**{"network_depth": 1, "num_lat_att_per_layer": 1} | changes)
    for changes in (
        {},
        {"learn_query": False, "query_shape": (2, 3)},
        {"stem": "convolution", "stem_dim": 4},
        {"cross_attend_in_every_layer": True, "network_depth": 2, "with_final_head": False},
        {
            "fourier_encode_input": False,
            "learned_position_shape": (5, 4),
            "learned_position_dim": 6,
            "with_decoder": False,
            "query_shape": None,
        },
    )
]

TOLERANCE = {"float32": 1e-4, "float64": 1e-12}

DATA_TYPES = {name: ["float32"] if name == "jax" else ["float32", "float64"] for name in CHOSEN}
"""JAX has float64 only if it is enabled for the whole process."""


class Subject:
    """A model and its expected results."""

    def __init__(self, spec, seed):
        self.spec, self.seed = spec, seed
        self.model = PerceiverIO(spec, seed=seed)
        self.model.labels = (f"label of {seed}",)
        self.data, self.mask, self.queries = arguments_for(spec, np.random.default_rng(seed))
        weights = initialise(PerceiverIOCore(spec).parameters(), seed)
        self.weights = map_tree(np.float64, weights)

    def arguments(self, masked, batched):
        """Arguments of a call by name, as NumPy arrays."""
        arguments = {"data": self.data, "queries": self.queries}
        if masked and self.mask is not None:
            arguments["mask"] = self.mask
        arguments = {name: x for name, x in arguments.items() if x is not None}
        return arguments if batched else {name: x[1] for name, x in arguments.items()}

    def expected(self, masked, batched):
        """Results of NumPy in float64."""
        mask = self.mask.reshape(2, -1) if masked and self.mask is not None else None
        queries = self.queries
        if queries is not None:
            queries = queries.reshape(2, -1, self.spec.queries_dim).astype(np.float64)
        core = PerceiverIOCore(self.spec, plain_reader=True)
        output = core(self.weights, self.data.astype(np.float64), mask, queries)
        if self.spec.with_decoder:
            output = output.reshape(2, *self.spec.query_shape, -1)
        return output if batched else output[1]

    def check(self, output, masked=False, batched=True):
        expected = self.expected(masked, batched)
        assert output.shape == expected.shape
        error = np.abs(output - expected).max() / np.abs(expected).max()
        assert error <= TOLERANCE[self.spec.dtype]


class Models(RuleBasedStateMachine):
    """Two models of different specs. Each rule uses one of them."""

    number = st.integers(0, 1)

    @initialize(
        pair=st.lists(st.sampled_from(SPECS), min_size=2, max_size=2, unique=True),
        name=st.sampled_from(CHOSEN),
    )
    def make(self, pair, name):
        self.set_backend(name)
        self.subjects = [Subject(spec, seed) for seed, spec in enumerate(pair)]

    def teardown(self):
        unset_backends()

    @property
    def ops(self):
        return ops_named(self.backend)

    def set_backend(self, name):
        unset_backends()
        ivy.set_backend(name)
        self.backend = name

    @rule(name=st.sampled_from(CHOSEN))
    def switch(self, name):
        """Float64 stays away from JAX, which would refuse it."""
        if all(subject.spec.dtype in DATA_TYPES[name] for subject in self.subjects):
            self.set_backend(name)

    @rule(
        number=number,
        kind=st.sampled_from(["ivy", "native", "numpy", *CHOSEN]),
        masked=st.booleans(),
        batched=st.booleans(),
    )
    def call(self, number, kind, masked, batched):
        subject = self.subjects[number]
        arguments = subject.arguments(masked, batched)
        if kind == "ivy":
            arguments = {name: ivy.array(x) for name, x in arguments.items()}
        else:
            ops = ops_named(self.backend if kind == "native" else kind)
            arguments = {name: ops.asarray(x) for name, x in arguments.items()}
        output = subject.model(**arguments)
        assert self.ops.is_array(output.data)
        subject.check(ivy.to_numpy(output), masked, batched)

    @rule(number=number)
    def compile(self, number):
        """Skip torch, where this takes half a minute: tests/shells/test_compilation.py tests it."""
        if self.backend != "torch":
            assert self.subjects[number].model.compile() is self.subjects[number].model

    @rule(number=number)
    def save_and_load(self, number):
        subject = self.subjects[number]
        with tempfile.TemporaryDirectory() as folder:
            subject.model.save_pretrained(folder)
            subject.model = PerceiverIO.from_pretrained(folder)

    @rule(number=number, data=st.data())
    def change_type(self, number, data):
        subject = self.subjects[number]
        dtype = data.draw(st.sampled_from(DATA_TYPES[self.backend]))
        subject.spec = subject.spec.replace(dtype=dtype)
        with tempfile.TemporaryDirectory() as folder:
            subject.model.save_pretrained(folder)
            subject.model = PerceiverIO.from_pretrained(folder, dtype=dtype)

    @precondition(lambda self: "torch" in CHOSEN)
    @rule(number=number)
    def through_torch(self, number):
        import torch

        subject = self.subjects[number]
        module = subject.model.to_torch_module()
        with torch.no_grad():
            output = module(**subject.arguments(masked=False, batched=True))
            subject.check(output.numpy())
            subject.model = subject.model.with_weights(module.weights())
            for weight in module.state_dict().values():
                weight.zero_()

    @precondition(lambda self: "jax" in CHOSEN)
    @rule(number=number)
    def through_jax(self, number):
        subject = self.subjects[number]
        if subject.spec.dtype == "float32":
            _, params = subject.model.to_jax()
            subject.model = subject.model.with_weights(params)

    @rule(number=number)
    def other_weights_for_one_call(self, number):
        subject = self.subjects[number]
        doubled = map_tree(lambda leaf: leaf * 2, subject.weights)
        arguments = subject.arguments(masked=False, batched=True)
        subject.model(**arguments, v=PerceiverIO(subject.spec, v=doubled).v)

    @rule(number=number, what=st.data())
    def refuse(self, number, what):
        subject = self.subjects[number]
        refusals = self.refusals(subject)
        error, wrong = refusals[what.draw(st.sampled_from(sorted(refusals)))]
        with pytest.raises(error):
            wrong()

    def refusals(self, subject):
        model, data = subject.model, subject.data
        arguments = subject.arguments(masked=False, batched=True)
        floats = np.full(data.shape[:-1], np.nan, np.float32)
        return {
            "channels": (InputError, lambda: model(**arguments | {"data": data[..., :2]})),
            "integers": (InputError, lambda: model(**arguments | {"data": data.astype(int)})),
            "text": (InputError, lambda: model(**arguments | {"data": "image.png"})),
            "nothing": (InputError, lambda: model(**arguments | {"data": data[:0]})),
            "mask shape": (InputError, lambda: model(**arguments, mask=np.ones((2, 9), bool))),
            "mask type": (InputError, lambda: model(**arguments, mask=floats)),
            "queries": (InputError, lambda: model(data, queries=np.ones((2, 3, 99), np.float32))),
            "latents": (InputError, lambda: model.decode(np.ones((2, 3), np.float32))),
            "weights": (WeightsError, lambda: model.with_weights({"latents": np.ones((7, 12))})),
            "layout": (WeightsError, lambda: model.save_pretrained("nowhere", layout="other")),
            "v": (WeightsError, lambda: PerceiverIO(subject.spec, v={"latents": data})),
            "v once": (WeightsError, lambda: model(**arguments, v={"latents": data})),
            "spec": (SpecError, lambda: subject.spec.replace(num_latents=0)),
            "no spec": (SpecError, lambda: PerceiverIO(None)),
            "device": (BackendError, lambda: PerceiverIO(subject.spec.replace(device="cuda:99"))),
        }

    @invariant()
    def labels_and_specs_stay(self):
        for subject in getattr(self, "subjects", ()):
            assert subject.model.labels == (f"label of {subject.seed}",)
            assert subject.model.spec == subject.spec

    @invariant()
    def logits_stay(self):
        for subject in getattr(self, "subjects", ()):
            output = subject.model(**subject.arguments(masked=False, batched=True))
            subject.check(ivy.to_numpy(output))


TestModels = pytest.mark.slow(Models.TestCase)
TestModels.settings = settings(max_examples=10, stateful_step_count=15)
