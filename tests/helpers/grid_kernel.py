"""Models read by the Triton kernel, and in chunks: ``grid_kernel.main()``.

Triton's interpreter runs the kernel on the CPU, in a process whose environment has chosen it from
the start: ``TRITON_INTERPRET=1``.
"""

import functools
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from helpers import fake_devices
from helpers.device_counts import formula, module_on
from helpers.fake_devices import Count
from helpers.specs import FEW_LAYERS, flow_spec, multimodal_spec, small_spec
from ivy_models.layers.parameters import map_tree
from ivy_models.ops import torch_grid_kernels, torch_grid_sums, torch_ops
from ivy_models.ops.torch_grid_check import check_kernels
from ivy_models.shells.torch import PerceiverIO
from ivy_models.transformers.perceiver_io import Reader, initialise
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

launched = []
"""Shapes of the inputs that the kernel has read."""

differentiated = []
"""A number for each launch of the gradient's kernel."""


def main():
    def launch(sources, mask):
        launched.append(tuple(sources[0].shape))
        return sums(sources, mask)

    sums, torch_grid_kernels.sums = torch_grid_kernels.sums, launch
    gradients = torch_grid_kernels.gradients_of_rows
    torch_grid_kernels.gradients_of_rows = lambda *x: differentiated.append(1) or gradients(*x)
    torch_grid_kernels.PROGRAMS = 2  # so that programs read several outer indices
    torch_ops.TorchOps.scores_per_chunk = lambda *_: 350  # several chunks for the gradient
    Reader.plain_is_cheaper = lambda *_: False
    check_first_use()
    check_axes_and_masks()
    assert differentiated
    check_channels()
    check_kinds()
    check_data_types()
    check_second_derivatives()
    check_operations()
    check_compiled()
    check_fake_device()
    check_what_takes_chunks()


def check_first_use():
    """The comparison before the first use passes, whatever modes are on, or names a fault."""
    cpu = torch.device("cpu")
    torch.set_default_dtype(torch.float64)
    fake, meta = FakeTensorMode(), torch.device("meta")
    with fake, meta, torch.inference_mode(), torch_ops._disable_current_modes():
        check_kernels(cpu)
    torch.set_default_dtype(torch.float32)
    kernel = torch_grid_kernels.gradients_of_rows
    torch_grid_kernels.gradients_of_rows = lambda *x: tuple(1.01 * g for g in kernel(*x))
    with pytest.raises(ArithmeticError, match=r"its results differ by 1.0e-02"):
        check_kernels(cpu)
    torch_grid_kernels.gradients_of_rows = kernel


def made(dtype="float32", **changes):
    """A module whose weights are not at their neutral values."""
    spec = changes.pop("spec", small_spec)(**FEW_LAYERS, **changes)
    rng = np.random.default_rng(0)
    tree = initialise(PerceiverIOCore(spec).parameters(), 0)
    tree = map_tree(lambda x: x + 0.3 * rng.standard_normal(x.shape, np.float32), tree)
    kind = getattr(torch, dtype)
    return PerceiverIO(
        spec.replace(dtype=dtype), map_tree(lambda x: torch.tensor(x).to(kind), tree)
    )


def draw(*shape):
    return torch.from_numpy(np.random.default_rng(1).standard_normal(shape, np.float32))


def with_kernel(call):
    """The result of a call, as on a GPU that runs Triton."""
    runs_triton, is_on_cpu = torch_ops._runs_triton, torch_ops._is_on_cpu
    torch_ops._runs_triton, torch_ops._is_on_cpu = lambda device: True, lambda x: False
    try:
        return call()
    finally:
        torch_ops._runs_triton, torch_ops._is_on_cpu = runs_triton, is_on_cpu


def both(module, data, launches=1, compiled=None, **arguments):
    """The outputs with the kernel, of the compiled module if given, and without it, as vectors."""
    launched.clear()
    reading = module if compiled is None else compiled
    call, other = (functools.partial(m, data, **arguments) for m in (reading, module))
    outputs = with_kernel(call), other()
    assert len(launched) == launches, launched
    if isinstance(data, dict):
        outputs = [torch.cat([x.flatten() for x in output.values()]) for output in outputs]
    return [output.flatten() for output in outputs]


def assert_close(ours, theirs, tolerance, name):
    assert ours.dtype == theirs.dtype
    difference = (ours - theirs).abs().max() / theirs.abs().max()
    assert difference <= tolerance, (name, difference)


def check(module, data, launches=1, **arguments):
    """Compare the outputs and the gradients, with those for the data and without."""
    sources = dict(module.named_parameters())
    check_gradients(sources, module, data, launches, **arguments)
    if isinstance(data, torch.Tensor):
        sources["data"] = data.requires_grad_()
        check_gradients(sources, module, data, launches, **arguments)


def check_gradients(sources, module, data, launches, **arguments):
    results = both(module, data, launches, **arguments)
    assert_close(*results, 1e-5, "output")
    weights = draw(*results[0].shape)
    gradients = [
        torch.autograd.grad((x * weights).sum(), list(sources.values()), allow_unused=True)
        for x in results
    ]
    assert_all_close(sources, *gradients)


def assert_all_close(names, ours, theirs):
    """Gradients, to 1e-5 of the largest: others are the differences of larger numbers."""
    largest = max(x.abs().max() for x in theirs if x is not None)
    for name, a, b in zip(names, ours, theirs, strict=True):
        assert (a is None) == (b is None), name
        assert a is None or (a - b).abs().max() <= 1e-5 * largest, name


def check_axes_and_masks():
    for axes in ((13,), (5, 37), (3, 2, 5)):
        module = made(num_input_axes=len(axes))
        mask = torch.from_numpy(np.random.default_rng(0).random((2, *axes)) < 0.6)
        mask[0] = False
        for given in (None, mask):
            check(module, draw(2, *axes, 3), mask=given)


def check_channels():
    for channels in (1, 20, 70):
        check(made(input_dim=channels), draw(1, 2, 3, channels))


def check_kinds():
    """Projected data, several heads, and modalities, which are padded."""
    check(made(spec=flow_spec), draw(1, 2, 9, 11, 3))
    check(made(stem="projection", stem_dim=9, num_cross_att_heads=3), draw(1, 3, 4, 3))
    data = {"sound": draw(2, 28, 1), "image": draw(2, 2, 6, 10, 3), "label": draw(2, 11)}
    check(made(spec=multimodal_spec), data, launches=2)


def check_data_types():
    for dtype in ("bfloat16", "float16"):
        results = both(made(dtype), draw(1, 3, 4, 3))
        assert_close(*results, 2 * torch.finfo(results[0].dtype).eps, dtype)


def check_second_derivatives():
    """Of a penalty on the gradient for the data, as in training against adversaries."""
    module, data = made(), draw(1, 2, 3, 3).requires_grad_()
    seconds = []
    for output in both(module, data):
        [gradient] = torch.autograd.grad(output.square().sum(), data, create_graph=True)
        seconds.append(torch.autograd.grad(gradient.square().sum(), list(module.parameters())))
    assert_all_close(dict(module.named_parameters()), *seconds)


def check_operations():
    """What torch.compile must know of the two operations, by torch's own test."""
    batch, outer, inner, rows, channels = 2, 3, 4, 5, 3
    x, inverse = draw(batch, outer * inner, channels), draw(batch, outer, inner)
    of_queries = draw(1, rows, channels), draw(1, rows, outer), draw(1, rows, inner)
    sources = [source.requires_grad_() for source in (x, inverse, *of_queries)]
    mask = torch.ones(batch, outer * inner, dtype=torch.bool)
    operations = torch.ops.ivy_models
    torch.library.opcheck(operations.grid_sums.default, (*sources, mask, 30))
    with torch.no_grad():
        highest, *sums = torch_grid_sums.grid_sums(*sources, None, 30)
    needed = [True, False, True, False, True]
    sources = [source.detach() for source in sources]
    arguments = sums, sources, None, highest, 30, needed
    torch.library.opcheck(operations.grid_sums_gradient.default, arguments)


def check_compiled():
    """One kernel in the program that torch.compile makes of a module, and of its gradient."""
    module, mask = made(), torch.ones(2, 5, 7, dtype=torch.bool)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    mask[0, 1:] = False
    for given in (None, mask):
        check(module, draw(2, 5, 7, 3), compiled=compiled, mask=given)


def check_fake_device():
    """On an accelerator: one kernel of its own, no copies to it, and no waiting for it."""
    fake_devices.install()
    F.scaled_dot_product_attention = formula  # the fake devices have no fused kernels
    with FakeTensorMode(), torch.no_grad():
        module, data = module_on("cuda", made().spec), torch.empty(2, 5, 7, 3, device="cuda")
        with_kernel(lambda: module(data))
        with Count() as count:
            with_kernel(lambda: module(data))
        assert (count.copies, count.waits) == ({}, {}), (count.copies, count.waits)
        assert count.names["grid_sums"] == 1
        program = with_kernel(lambda: torch.export.export(module, (data,), strict=False))
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    # It runs without this library.
    assert targets
    assert not [target for target in targets if "ivy_models" in str(target)]


def check_what_takes_chunks():
    """Other data types, too many channels or inputs, transforms, and the variable."""
    data = draw(1, 2, 3, 3)
    both(made("float64"), data.double(), launches=0)
    both(made(input_dim=130), draw(1, 2, 3, 130), launches=0)
    both(made(num_input_axes=1), draw(1, 60, 3), launches=0)
    both(torch.func.vmap(made()), data[None], launches=0)
    os.environ[torch_ops.FUSED_READER] = "0"
    both(made(), data, launches=0)
