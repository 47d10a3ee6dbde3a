import platform
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
from ivy_models.base.freed_memory import keep_freed_memory
from ivy_models.measure.memory import status

if {keeps}:
    keep_freed_memory()
before = status("VmRSS")
array = np.ones(2**21)
del array
print(status("VmRSS") - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
@pytest.mark.parametrize("keeps", [True, False])
def test_a_process_keeps_the_memory_that_it_frees(keeps):
    script = SCRIPT.format(keeps=keeps)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert (int(run.stdout) > 2**23) == keeps  # the array has 2**24 bytes
