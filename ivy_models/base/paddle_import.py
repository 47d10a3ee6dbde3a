"""What Paddle 3.3 needs at its import.

Beside TensorFlow: both bring a library of the same C++ functions. Paddle's would call TensorFlow's
where that was loaded first, and crash the process. Imported after this library, Paddle calls its
own.

On CPUs of AMD: Paddle brings a release of MKL from 2019 that uses instructions of 2006 there, and
takes 2.4 times as long for a matrix product. An environment variable of MKL chooses AVX2.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

from ivy_models.base.import_hooks import Finder, Loader

CPU_INFO = Path("/proc/cpuinfo")


def install() -> None:
    """Watch for the import of Paddle."""
    if hasattr(os, "RTLD_DEEPBIND"):
        Finder({"paddle": _Loader}).install()


class _Loader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        """Import Paddle so that its shared libraries prefer their own functions."""
        use_avx2_on_amd()
        flags = sys.getdlopenflags()
        sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
        try:
            with warnings.catch_warnings():  # only builds of extensions need ccache
                warnings.filterwarnings("ignore", "No ccache found")
                super().exec_module(module)
        finally:
            sys.setdlopenflags(flags)


def use_avx2_on_amd() -> None:
    """Let Paddle's MKL use AVX2 on CPUs of AMD that have it, unless the user has chosen.

    MKL reads the variable at its first product. Its releases since 2020, such as that of torch,
    ignore it.
    """
    try:
        cpu = CPU_INFO.read_text("utf-8", "replace")
    except OSError:  # not Linux
        return
    if "AuthenticAMD" in cpu and {"avx2", "fma"} <= set(cpu.split()):
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
