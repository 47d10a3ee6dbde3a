"""Training steps (forward, backward, update), written as users of each framework write them.

AdamW's two averages are allocated before memory is measured, because they persist between steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from subjects import (
    DEPTHS,
    DROPOUT,
    HUGGINGFACE,
    MODELS,
    REMATERIALISED,
    Case,
    create,
    huggingface_config,
)

LEARNING_RATE = 1e-4


def step(case: Case, images: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a function that takes one step on images (B, height, width, 3) and gives logits."""
    if case.model not in ("fourier", *DEPTHS):
        raise ValueError(f"Training is measured only for the Fourier model, not for {case.model}.")
    classes = np.arange(case.batch)
    if case.subject in (HUGGINGFACE, DROPOUT):
        return _huggingface(case, images, classes)
    steps = {"torch": _torch, "jax": _jax, "tensorflow": _tensorflow, "paddle": _paddle}
    return steps[case.framework](case, images, classes)


def _huggingface(case, images, classes):
    import transformers

    # transformers has dropout by default; this library and the published models have none.
    rate = 0.1 if case.subject == DROPOUT else 0.0
    config = huggingface_config(MODELS[case.model], attention_probs_dropout_prob=rate)
    model = transformers.PerceiverForImageClassificationFourier(config)
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return _torch_step(model, lambda images: model(images).logits, case, images, classes)


def _torch(case, images, classes):
    module = create(case).to_torch_module(case.subject.endswith(REMATERIALISED))
    return _torch_step(module, lambda images: module(images)[:, 0], case, images, classes)


def _torch_step(module, logits_of, case, images, classes):
    import torch

    module.to(case.device, getattr(torch, case.dtype)).train()
    optimizer = torch.optim.AdamW(module.parameters(), LEARNING_RATE)
    for weight in module.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.zero_grad()
    classes = torch.from_numpy(classes).to(case.device)

    def step():
        logits = logits_of(torch.from_numpy(images).to(case.device))
        torch.nn.functional.cross_entropy(logits, classes).backward()
        optimizer.step()
        optimizer.zero_grad()
        return logits.detach().cpu().numpy()

    return step


def _jax(case, images, classes):
    import jax
    import optax

    apply, params = create(case).to_jax(case.subject.endswith(REMATERIALISED))
    optimizer = optax.adamw(LEARNING_RATE)
    state = optimizer.init(params)

    def update(params, state, images, classes):
        def loss_of(params):
            logits = apply(params, images)[:, 0]
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, classes)
            return losses.mean(), logits

        gradients, logits = jax.grad(loss_of, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, logits

    update = jax.jit(update, donate_argnums=(0, 1))

    def step():
        nonlocal params, state
        params, state, logits = update(params, state, images, classes)
        return np.asarray(jax.block_until_ready((logits, params))[0])

    return step


def _tensorflow(case, images, classes):
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise ValueError("Keras runs on another backend: unset KERAS_BACKEND.")
    model = create(case).to_keras_model(case.subject.endswith(REMATERIALISED))
    optimizer = keras.optimizers.AdamW(LEARNING_RATE)
    optimizer.build(model.trainable_variables)

    @tf.function
    def update(images, classes):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)[:, 0]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return logits

    return lambda: update(tf.constant(images), tf.constant(classes)).numpy()


def _paddle(case, images, classes):
    import paddle

    module = create(case).to_paddle_module(case.subject.endswith(REMATERIALISED))
    module.train()
    optimizer = paddle.optimizer.AdamW(LEARNING_RATE, parameters=module.parameters())
    classes = paddle.to_tensor(classes)

    def step():
        logits = module(paddle.to_tensor(images))[:, 0]
        paddle.nn.functional.cross_entropy(logits, classes).backward()
        optimizer.step()
        optimizer.clear_grad()
        return logits.detach().numpy()

    return step
