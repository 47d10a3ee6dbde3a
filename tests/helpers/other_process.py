"""Send a model to another process: ``python(MAIN, backend, start_method)``.

This runs in its own process, which has only the threads of the chosen backend: a fork copies no
threads, but it copies the locks that threads of JAX and TensorFlow hold.
"""

import multiprocessing
import sys

import numpy as np

from helpers.processes import LIMIT
from helpers.specs import small_spec
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

MAIN = "from helpers import other_process; other_process.main()"


def call(model, data, queue):
    output = model(data)
    queue.put((ivy.current_backend_str(), type(output.data).__module__, ivy.to_numpy(output)))


def main():
    """Compare the results of both processes. In a spawned one the data decide the backend."""
    name, method = sys.argv[1:]
    ivy.set_backend(name)
    model = PerceiverIO(small_spec())
    # Large enough for torch to start its threads.
    data = np.random.default_rng(0).standard_normal((2, 64, 64, 3), np.float32)
    if name == "torch":
        import torch

        torch.set_num_threads(2)  # whatever the machine's number of cores
    expected = ivy.to_numpy(model(data))
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=call, args=(model, data, queue), daemon=True)
    process.start()
    process.join(timeout=LIMIT)
    assert process.exitcode == 0, process.exitcode
    current, module, output = queue.get()
    assert (current, module) == ((name, name) if method == "fork" else ("", "numpy"))
    np.testing.assert_allclose(output, expected, atol=1e-4)
    np.testing.assert_array_equal(ivy.to_numpy(model(data)), expected)
