"""How JAX and TensorFlow compile in the tests.

Optimizing programs that run a few times takes longer than it saves.
"""

import os
from importlib.metadata import version

from helpers import CHOSEN


def quick_xla(*flags: str) -> dict[str, str]:
    """The environment in which XLA compiles quickly, with more of its flags."""
    return {"XLA_FLAGS": " ".join(["--xla_backend_optimization_level=0", *_emitters(), *flags])}


def without_fusion_emitters() -> None:
    """Let XLA use its older emitters in this process and in those that it starts."""
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_emitters()]).strip()


def optimize_programs(whether: bool) -> None:
    """Optimize the programs that are compiled from now on, or only translate them."""
    if "jax" in CHOSEN:
        import jax

        jax.config.update("jax_disable_most_optimizations", not whether)
    if "tensorflow" in CHOSEN:
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not whether})


def _emitters() -> list[str]:
    # XLA compiles a small model in half the time. jaxlib 0.5 does not know the flag, and XLA ends
    # the process when it finds one that it does not know.
    known = "jax" in CHOSEN and not version("jaxlib").startswith("0.5.")
    return ["--xla_cpu_use_fusion_emitters=false"] if known else []
