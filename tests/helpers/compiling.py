"""How JAX and TensorFlow compile in the tests.

Optimizing programs that run a few times takes longer than it saves.
"""

import os
from importlib.metadata import version

from helpers import CHOSEN


def quick_xla(*flags: str) -> dict[str, str]:
    """The environment in which XLA compiles quickly, with more of its flags."""
    return {"XLA_FLAGS": " ".join(["--xla_backend_optimization_level=0", *_quick_flags(), *flags])}


def compile_quickly() -> None:
    """Set the flags by which XLA compiles optimized programs quicker, here and in new processes."""
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_quick_flags()]).strip()


def optimize_programs(whether: bool) -> None:
    """Optimize the programs that are compiled from now on, or only translate them."""
    if "jax" in CHOSEN:
        import jax

        jax.config.update("jax_disable_most_optimizations", not whether)
    if "tensorflow" in CHOSEN:
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not whether})


def _quick_flags() -> list[str]:
    # XLA compiles a small model in half the time by its older emitters, and a tenth quicker if it
    # does not split the code. jaxlib 0.5 does not know the first flag, and XLA ends the process
    # when it finds one that it does not know.
    if "jax" not in CHOSEN or version("jaxlib").startswith("0.5."):
        return []
    return ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
