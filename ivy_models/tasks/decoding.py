"""Decoding of many outputs from the same latents, in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ivy_models.arrays import to_numpy
from ivy_models.errors import InputError
from ivy_models.layers.patches import depth_to_space

if TYPE_CHECKING:
    from ivy_models.shells.ivy import PerceiverIO

QUERIES_PER_CHUNK = 2**14
"""About a second of work on two cores. It divides the 802,816 pixels of the video model."""


def decode_in_chunks(
    model: PerceiverIO, latents: Any, size: int = QUERIES_PER_CHUNK, progress: bool = False
) -> dict[str, np.ndarray]:
    """Decode all outputs of all modalities, in chunks of queries.

    The result equals that of ``model.decode(latents)``. The work can be interrupted between
    chunks, and shows its progress.

    Parameters
    ----------
    model
        A model with ``output_modalities``.
    latents
        (*batch, num_latents, latent_dim), from ``model.encode``.
    size
        Number of queries in a chunk.
    progress
        Whether to show a progress bar over the queries.

    Returns
    -------
    dict
        For each modality a NumPy array (*batch, *axes, output_dim).

    Raises
    ------
    InputError
        If the model has no output modalities, or the latents or the size do not fit.
    """
    modalities = model.spec.output_modalities
    if modalities is None:
        raise InputError("The model has no output_modalities; call model.decode(latents).")
    if size < 1:
        raise InputError(f"size must be at least 1, got {size}.")
    outputs = {}
    with _progress_bar(progress, sum(m.num_queries for m in modalities)) as bar:
        for modality in modalities:
            name, chunks = modality.name, []
            for start in range(0, modality.num_queries, size):
                indices = np.arange(start, min(start + size, modality.num_queries))
                decoded: Any = model.decode(latents, {name: indices})
                chunks.append(to_numpy(decoded[name], name))
                bar.update(len(indices))
            outputs[name] = _assembled(modality, np.concatenate(chunks, len(latents.shape) - 2))
    return outputs


def _assembled(modality: Any, decoded: np.ndarray) -> np.ndarray:
    """(*batch, O, *patch_shape, output_dim) -> (*batch, *axes, output_dim)."""
    patch_shape = modality.patch_shape or ()
    batch_shape = decoded.shape[: -2 - len(patch_shape)]
    if patch_shape:
        patches = decoded.reshape(-1, *modality.query_shape, modality.head_dim)
        decoded = depth_to_space(patches, patch_shape)
    return decoded.reshape(*batch_shape, *modality.output_shape, modality.output_dim)


def _progress_bar(shown: bool, total: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc="decode", unit="query", unit_scale=True, disable=not shown)
