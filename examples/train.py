"""Train a classifier from scratch, the same way on PyTorch, JAX, TensorFlow and Paddle.

    python examples/train.py digits --backend torch --output /tmp/my_digits    # minutes on one core
    python examples/train.py digits --backend torch --output /tmp/my_digits --resume

It uses AdamW with warm-up and a cosine schedule, label smoothing, gradient clipping and dropout,
each from the framework's own library. The output folder gets the model and a record of its accuracy
on held-out data, which is used once, at the end. Its folder ``training`` gets a checkpoint for
resuming, the metrics of each step as CSV, and a picture of the loss. A resumed run continues
exactly as if it had not been stopped. Press Ctrl-C to stop a run.
"""

import argparse
import json
import os
import sys
from dataclasses import MISSING, asdict, fields
from pathlib import Path

from recipe import checkpoint, report
from recipe.data import TASKS, Task
from recipe.trainer import Settings, Trainer, make_trainer
from tqdm import tqdm

BACKENDS = ("torch", "jax", "tensorflow", "paddle")

OPTIONS = [field.name for field in fields(Settings) if field.default is not MISSING]


def train(
    task: Task, trainer: Trainer, settings: Settings, folder: Path, resume: bool, save_every: int
) -> None:
    """Run the remaining steps, with a checkpoint every ``save_every`` steps and at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    path, first = folder / "checkpoint.safetensors", 0
    if resume and path.exists():
        state = checkpoint.load(path, settings)
        trainer.load(state)
        first = int(state["step"])
    else:
        path.unlink(missing_ok=True)  # from an earlier run
    steps_per_epoch = len(task.data) // settings.batch_size
    progress = tqdm(range(first, settings.steps), initial=first, total=settings.steps, unit="step")
    with report.Metrics(folder / "metrics.csv", first) as metrics:
        for step in progress:
            batch = task.batch(settings.seed, step, settings.batch_size)
            loss, learning_rate = trainer.step(*batch)
            progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
            metrics.add(report.Row(step, step // steps_per_epoch, learning_rate, loss))
            if (step + 1) % save_every == 0 or step + 1 == settings.steps:
                metrics.flush()  # before the checkpoint, so that no row up to it is missing
                checkpoint.save(path, trainer.state(), settings)
                tqdm.write(f"step {step + 1}: loss {loss:.3f}, learning rate {learning_rate:.2e}")
    report.draw(report.read(folder / "metrics.csv"), folder / "curve.png")


def accuracy(task: Task, trainer: Trainer) -> float:
    right = trainer.logits(task.held_out_data).argmax(-1) == task.held_out_classes
    return float(right.mean())


def use_one_core(backend: str) -> None:
    """Start a framework with one thread, which is fast for small models and reproducible."""
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
    elif backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"
    elif backend == "paddle":
        os.environ["OMP_NUM_THREADS"] = "1"
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.experimental.enable_op_determinism()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--backend", choices=BACKENDS, default="torch")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint, if any"
    )
    parser.add_argument("--save-every", type=int, default=10, help="epochs between checkpoints")
    parser.add_argument(
        "--validate",
        action="store_true",
        help="hold out training data instead of test data; write no model",
    )
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--warmup-epochs", type=int, default=10)
    for name in OPTIONS:
        default = getattr(Settings, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    arguments = parser.parse_args()

    task = TASKS[arguments.task]()
    if arguments.validate:
        task = task.for_validation()
    steps_per_epoch = len(task.data) // arguments.batch_size
    settings = Settings(
        task=arguments.task,
        backend=arguments.backend,
        steps=arguments.epochs * steps_per_epoch,
        warmup_steps=arguments.warmup_epochs * steps_per_epoch,
        **{name: getattr(arguments, name) for name in OPTIONS},
    )
    if not 0 < settings.warmup_steps < settings.steps:
        parser.error(
            f"{settings.warmup_steps} of {settings.steps} steps are warm-up; expected more than 0 "
            "and fewer than all"
        )
    use_one_core(settings.backend)
    trainer = make_trainer(task.model(settings.seed, fc_dropout=settings.dropout), settings)
    save_every = arguments.save_every * steps_per_epoch
    try:
        train(task, trainer, settings, arguments.output / "training", arguments.resume, save_every)
    except checkpoint.CheckpointError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped. Use --resume to continue from the last checkpoint.")

    share = accuracy(task, trainer)
    print(f"accuracy on {len(task.held_out_data)} held-out examples: {share:.4f}")
    if arguments.validate:
        return
    model = task.model(settings.seed)  # without dropout
    model.with_weights(trainer.weights()).save_pretrained(arguments.output)
    record = task.record | {"test_accuracy": share, "epochs": arguments.epochs} | asdict(settings)
    (arguments.output / "training.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
