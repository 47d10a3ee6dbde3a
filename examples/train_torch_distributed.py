"""Train the digits in several processes, by PyTorch's own data parallelism or full sharding.

    torchrun --nproc-per-node 2 examples/train_torch_distributed.py --strategy ddp
    torchrun --nproc-per-node 2 examples/train_torch_distributed.py --strategy fsdp
    python examples/train_torch_distributed.py               # one process, the same losses

Each process has a share of every batch. With ``ddp`` it has all weights, and gradients are averaged
over the processes. With ``fsdp`` it holds a shard of every weight, gradient and optimizer state,
and the weights are gathered for each step. Processes communicate by gloo on CPUs, NCCL on GPUs.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

import torch
from digits import digits_split
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from ivy_models import create_model
from ivy_models.transformers.perceiver_io import PerceiverIO

BATCH_SIZE = 64  # of all processes together, a multiple of their number


def start() -> torch.device:
    """Join the process group of torchrun, or form a group of one process."""
    if not distributed.is_torchelastic_launched():
        distributed.init_process_group(store=distributed.HashStore(), rank=0, world_size=1)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    distributed.init_process_group()
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return torch.device("cuda", torch.cuda.current_device())


def batches(model: PerceiverIO, steps: int, seed: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """Images and classes of each step: this process's share of the batch."""
    images, classes, *_ = digits_split()
    images, classes = torch.from_numpy(model.preprocessing(list(images))), torch.tensor(classes)
    generator = torch.Generator().manual_seed(seed)  # all processes draw the same batches
    for _ in range(steps):
        batch = torch.randint(len(images), (BATCH_SIZE,), generator=generator)
        part = batch[distributed.get_rank() :: distributed.get_world_size()]
        yield images[part], classes[part]


def distribute(module: torch.nn.Module, strategy: str) -> torch.nn.Module:
    """Distribute the training of a module over all processes."""
    if strategy == "ddp":
        return DistributedDataParallel(module)
    # Shard the whole module: a forward pass uses the processor's weights once for each block, so
    # this gathers all weights once instead of once for each layer.
    return fully_shard(module)


def train(model: PerceiverIO, strategy: str, steps: int, seed: int, device: torch.device) -> dict:
    """Train a copy of the model's weights; return them, only in the first process."""
    module = distribute(model.to_torch_module().to(device).train(), strategy)
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3, eps=1e-6)  # above rounding errors
    for step, (images, classes) in enumerate(batches(model, steps, seed), 1):
        logits = module(images.to(device))[:, 0]
        loss = torch.nn.functional.cross_entropy(logits, classes.to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)  # the norm over all shards
        optimizer.step()
        loss = loss.detach()
        distributed.all_reduce(loss)
        if distributed.get_rank() == 0:
            print(f"step {step}: loss {loss.item() / distributed.get_world_size():.6f}")
    if distributed.get_rank() == 0:
        moments = [state["exp_avg"] for state in optimizer.state.values()]
        whole = sum(moment.numel() for moment in moments)
        print(f"optimizer's state in a process: {sum(map(local_size, moments)) / whole:.0%}")
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(module, options=options)


def local_size(tensor: torch.Tensor) -> int:
    """Number of a tensor's elements in this process."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).numel()


@torch.inference_mode()
def accuracy(module: torch.nn.Module, model: PerceiverIO) -> float:
    *_, images, classes, _ = digits_split()
    logits = module(torch.from_numpy(model.preprocessing(list(images))))[:, 0]
    return (logits.argmax(-1) == torch.tensor(classes)).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategy", choices=["ddp", "fsdp"], default="ddp")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path(gettempdir(), "perceiver_io_digits_distributed")
    )
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # more do not help a model this small, and the processes need cores
    device = start()
    if BATCH_SIZE % distributed.get_world_size():
        parser.error(f"the number of processes must divide the batch size, {BATCH_SIZE}")
    model = create_model("perceiver_io_digits", seed=arguments.seed)
    state = train(model, arguments.strategy, arguments.steps, arguments.seed, device)
    if distributed.get_rank() == 0:
        module = model.to_torch_module()
        module.load_state_dict(state)
        print(f"accuracy on held-out images: {accuracy(module, model):.1%}")
        model.with_weights(module.weights()).save_pretrained(arguments.output)
    distributed.barrier()  # a process that ends early would leave the others waiting
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
