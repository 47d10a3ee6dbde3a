"""Train a small masked language model on generated sentences.

    python examples/train_language.py                   # about a minute on two cores
    python examples/train_language.py --steps 100 --seed 1

In each sentence someone owns something: "the queen found her old ball.". The model reads and
predicts bytes. It has to learn which possessive belongs to each owner: "her" to the queen, "his" to
Tom. Held-out sentences show whether it did.
"""

import argparse
import itertools

import numpy as np
import torch
from tqdm import tqdm

from ivy_models import fill_mask, perceiver_io_language
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.preprocessing.text import MASK
from ivy_models.training.losses import masked_token_loss
from ivy_models.transformers.perceiver_io import PerceiverIOSpec
import ivy

OWNERS = {
    "her": ("Anna", "Mary", "the girl", "the queen"),
    "his": ("Peter", "Tom", "the boy", "the king"),
    "its": ("the cat", "the bird", "the fox", "the horse"),
    "our": ("we", "you and I", "my friend and I", "all of us"),
}
VERBS = ("found", "lost", "saw", "kept")
ADJECTIVES = ("old", "red", "big", "small")
NOUNS = ("house", "garden", "ball", "book", "road", "bread")
NUM_HELD_OUT = 100

SPEC = PerceiverIOSpec(
    input_dim=64,
    num_input_axes=1,
    output_dim=262,
    queries_dim=64,
    network_depth=1,
    num_latents=24,
    latent_dim=64,
    num_cross_att_heads=4,
    num_self_att_heads=4,
    query_shape=(48,),
    num_lat_att_per_layer=2,
    fourier_encode_input=False,
    learned_position_shape=(48,),
    query_residual=False,
    vocabulary_size=262,
    query_per_input=True,
    tied_head=True,
)


def make_sentences(rng: np.random.Generator) -> list[tuple[str, ...]]:
    """All possible sentences, each as its five parts, in random order."""
    sentences = [
        (owner, verb, possessive, adjective, noun)
        for possessive, owners in OWNERS.items()
        for owner, verb, adjective, noun in itertools.product(owners, VERBS, ADJECTIVES, NOUNS)
    ]
    return [sentences[i] for i in rng.permutation(len(sentences))]


def masked_batch(tokenizer, sentences, rng) -> tuple[torch.Tensor, ...]:
    """Tokens, the mask of those that are not padding, and the mask of those to hide, all (B, M).

    A whole part of each sentence is hidden, because half a word would reveal the other half.
    """
    tokens, mask = tokenizer([" ".join(parts) + "." for parts in sentences])
    masked = np.zeros_like(mask)
    for row, parts in zip(masked, sentences, strict=True):
        part = rng.integers(len(parts))
        start = len(" ".join([*parts[:part], ""]))
        row[start : start + len(parts[part])] = True
    return torch.from_numpy(tokens), torch.from_numpy(mask), torch.from_numpy(masked)


def train(model, sentences, steps: int, rng: np.random.Generator) -> list[float]:
    """Train the weights in ``model.v``; return the loss of each step, in nats per byte."""
    weights = {name: leaf.data for name, leaf in flatten(model.v)}
    for weight in weights.values():
        weight.requires_grad_()
    params = unflatten(weights)
    optimizer = torch.optim.AdamW(weights.values(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    losses = []
    progress = tqdm(range(steps), unit="step")
    for _ in progress:
        batch = [sentences[i] for i in rng.integers(len(sentences), size=64)]
        tokens, mask, masked = masked_batch(model.tokenizer, batch, rng)
        logits = model.core(params, tokens.masked_fill(masked, MASK), mask)
        loss = masked_token_loss(logits, tokens, masked)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress.set_postfix(loss=f"{losses[-1]:.3f}")
    for weight in weights.values():  # these are the tensors of model.v
        weight.requires_grad_(False)
    return losses


def share_right(model, sentences) -> float:
    """Share of sentences in which the most probable text for the possessive is correct."""
    right = 0
    for owner, verb, possessive, adjective, noun in sentences:
        text = f"{owner} {verb} [MASK] {adjective} {noun}."
        ((candidate,),) = fill_mask(model, text, top=1, length=len(possessive))
        right += candidate.text == possessive
    return right / len(sentences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    ivy.set_backend("torch")
    torch.set_num_threads(1)  # a second thread gains little for arrays this small
    rng = np.random.default_rng(arguments.seed)
    sentences = make_sentences(rng)
    held_out, seen = sentences[:NUM_HELD_OUT], sentences[NUM_HELD_OUT:]
    model = perceiver_io_language(SPEC, pretrained=False, seed=arguments.seed)
    train(model, seen, arguments.steps, rng)

    for owner, verb, possessive, adjective, noun in held_out[:5]:
        text = f"{owner} {verb} [MASK] {adjective} {noun}."
        (candidates,) = fill_mask(model, text, top=2, length=3)
        guesses = ", ".join(f"{text} {probability:.0%}" for text, probability in candidates)
        print(f"{text}  {guesses}  (right: {possessive})")
    print(f"right in {share_right(model, held_out):.0%} of {NUM_HELD_OUT} held-out sentences")


if __name__ == "__main__":
    main()
