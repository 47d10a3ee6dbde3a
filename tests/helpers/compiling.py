"""How JAX and TensorFlow compile in this process."""

from helpers import CHOSEN


def optimize_programs(whether: bool) -> None:
    """Optimize the programs that are compiled from now on, or only translate them."""
    if "jax" in CHOSEN:
        import jax

        jax.config.update("jax_disable_most_optimizations", not whether)
    if "tensorflow" in CHOSEN:
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not whether})
