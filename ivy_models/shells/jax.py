"""Models as pure functions of JAX arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from ivy_models.layers.parameters import (
    Tree,
    flatten,
    initialise,
    map_tree,
    unflatten,
)
from ivy_models.ops import ops_named
from ivy_models.shells.call import checked_call
from ivy_models.shells.resampler_call import converted_call
from ivy_models.shells.shorter import shorter
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore
from ivy_models.transformers.perceiver_io.resampler.spec import ResamplerSpec
from ivy_models.transformers.perceiver_io.spec import PerceiverIOSpec


class JaxModel(NamedTuple):
    """A model as a pure function and the parameters to call it with.

    ``apply(params, data, mask=None, queries=None, key=None, positions=None)`` calls
    ``ivy_models``' ``PerceiverIO`` on JAX arrays, and raises the same errors. With a ``key`` of
    ``jax.random``, it applies the spec's dropout. It also takes ``query_mask``, and ``depth``,
    ``num_layers`` and ``num_latents``, as that class does; the last three are constants of a
    program. It is not compiled: wrap it, or the function that calls it, in ``jax.jit``.

    ``params`` is a nested dict of arrays, a tree to JAX and optax. Weights that training does not
    change are stored in ``apply`` instead.
    """

    apply: Callable[..., Any]
    params: Tree


def split(spec: PerceiverIOSpec, weights: Tree, rematerialise: bool = False) -> JaxModel:
    """Make a model from all its weights, which are JAX arrays."""
    core = PerceiverIOCore(spec, rematerialise=rematerialise)
    weights, description = dict(flatten(weights)), core.parameters()
    trained = {name for name, part in flatten(description) if part.trainable}
    fixed = {name: weight for name, weight in weights.items() if name not in trained}
    params = unflatten({n: w for n, w in weights.items() if n in trained})
    return JaxModel(functools.partial(_apply, core, fixed), params)


def _apply(
    core: PerceiverIOCore,
    fixed: Tree,
    params: Tree,
    data: Any,
    mask: Any = None,
    queries: Any = None,
    key: Any = None,
    positions: Any = None,
    *,
    query_mask: Any = None,
    depth: int | None = None,
    num_layers: int | None = None,
    num_latents: int | None = None,
) -> Any:
    if fixed:
        params = unflatten(dict(flatten(params)) | fixed)
    params = map_tree(lambda w: w if isinstance(w, jax.Array) else jnp.asarray(w), params)
    core, params = shorter(
        core, params, depth=depth, num_layers=num_layers, num_latents=num_latents
    )
    run = functools.partial(checked_call, ops_named("jax"), core.spec, core)
    # The core broadcasts on purpose; the user's flag concerns the user's own code.
    with jax.numpy_rank_promotion("allow"):
        arguments = params, data, mask, queries, key, positions, query_mask
        together = core.spec.input().with_positions(data, positions)
        mesh = _explicit_mesh(params, data)
        return _over_any_mesh(run, core.spec, together, mesh)(*arguments)


def resampler(spec: ResamplerSpec, seed: int = 0) -> JaxModel:
    """Make a resampler with random weights.

    Parameters
    ----------
    spec
        The description.
    seed
        Seed of the weights.

    Returns
    -------
    JaxModel
        ``apply(params, inputs, latents=None, mask=None, positions=None, latent_positions=None)``
        calls :func:`.resample` on JAX arrays, and raises the same errors. It is not compiled.
    """
    params = map_tree(jnp.asarray, initialise(spec.parameters(), seed))
    return JaxModel(functools.partial(_resample, spec), params)


def _resample(spec: ResamplerSpec, params: Tree, *arguments: Any, **named: Any) -> Any:
    params = map_tree(lambda w: w if isinstance(w, jax.Array) else jnp.asarray(w), params)
    # The core broadcasts on purpose; the user's flag concerns the user's own code.
    with jax.numpy_rank_promotion("allow"):
        return converted_call(ops_named("jax"), spec, params, *arguments, **named)


def _explicit_mesh(*trees: Any) -> Any:
    """The mesh with explicit shardings of the context or of traced arrays; None if there is none.

    From JAX 0.9 on, meshes are explicit unless they say otherwise.
    """
    meshes = [jax.sharding.get_abstract_mesh()] if hasattr(jax.sharding, "auto_axes") else []
    for leaf in jax.tree.leaves(trees) if meshes else ():
        if isinstance(leaf, Tracer):
            meshes.append(jax.typeof(leaf).sharding.mesh)
    return next((mesh for mesh in meshes if getattr(mesh, "explicit_axes", ())), None)


def _over_any_mesh(
    run: Callable[..., Any], spec: PerceiverIOSpec, data: Any, mesh: Any
) -> Callable[..., Any]:
    """Let XLA choose shardings inside the core, even if the mesh asks for explicit ones.

    The outputs' batch axes are sharded like those of the data.
    """
    if mesh is None:
        return run
    arrays = map_tree(jnp.asarray, data) if isinstance(data, Mapping) else jnp.asarray(data)
    batch_shape, _ = spec.input().split_shape(jax.tree.map(jnp.shape, arrays))
    shardings = jax.typeof(jax.tree.leaves(arrays)[0]).sharding.spec
    batch = NamedSharding(mesh, PartitionSpec(*shardings[: len(batch_shape)]))
    return jax.sharding.auto_axes(run, out_sharding=batch)
