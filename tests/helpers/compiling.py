"""How JAX and TensorFlow compile in the tests.

Optimizing programs that run a few times takes longer than it saves.
"""

import os
from importlib.metadata import version

from packaging.version import Version

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
    # XLA compiles a small model a tenth quicker if it does not split the code, and in half the time
    # by its older emitters. It ends the process when it finds a flag that it does not know: jaxlib
    # 0.5 does not have the second one yet, and 0.12 has it no longer.
    if "jax" not in CHOSEN:
        return []
    flags = ["--xla_cpu_parallel_codegen_split_count=1"]
    if Version("0.6") <= Version(version("jaxlib")) < Version("0.11"):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    return flags
