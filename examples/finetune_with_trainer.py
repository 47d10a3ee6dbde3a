"""Fine-tune the digit classifier with the Trainer of Hugging Face transformers.

    pip install "transformers[torch]"                        # the Trainer needs accelerate
    python examples/finetune_with_trainer.py                 # under a minute on a CPU core

The task and the model are those of ``finetune_torch_module.py``. A Trainer expects a module that
returns the loss beside the logits; :class:`Classifier` adds only that.
"""

import argparse
import tempfile

import torch
from finetune_torch_module import accuracy, make_model, parity_split
from transformers import Trainer, TrainingArguments


class Classifier(torch.nn.Module):
    """A Perceiver whose one output is the logits."""

    def __init__(self, perceiver: torch.nn.Module):
        super().__init__()
        self.perceiver = perceiver

    def forward(
        self, data: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        logits = self.perceiver(data)[:, 0]
        if labels is None:
            return {"logits": logits}
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def train(
    module: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int, seed: int
) -> None:
    dataset = [{"data": i, "labels": k} for i, k in zip(images, labels, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=64,
            learning_rate=1e-3,
            logging_steps=100,
            save_strategy="no",
            report_to="none",
            seed=seed,
        )
        Trainer(Classifier(module), settings, train_dataset=dataset).train()
    module.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # more do not help a model this small, and would wait for busy cores
    model = make_model(arguments.seed)
    images, labels, *held_out = parity_split(model)
    module = model.to_torch_module()
    print(f"accuracy with a fresh head: {accuracy(module, *held_out):.1%}")
    train(module, images, labels, arguments.steps, arguments.seed)
    print(f"after training: {accuracy(module, *held_out):.1%}")


if __name__ == "__main__":
    main()
