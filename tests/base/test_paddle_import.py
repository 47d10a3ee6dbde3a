"""Paddle on CPUs of AMD."""

import pytest

from ivy_models.base import paddle_import

VARIABLE = "MKL_DEBUG_CPU_TYPE"


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """Write the description of a CPU, and forget what was chosen for this one."""
    monkeypatch.setattr(paddle_import, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setenv(VARIABLE, "")  # so that it is restored afterwards
    monkeypatch.delenv(VARIABLE)
    return (tmp_path / "cpuinfo").write_text


@pytest.mark.parametrize(
    ("description", "chosen"),
    [
        ("vendor_id : AuthenticAMD\nflags : fma sse2 avx2 bmi2\n", "5"),
        ("vendor_id : AuthenticAMD\nflags : sse2 avx\n", None),
        ("vendor_id : GenuineIntel\nflags : fma sse2 avx2 bmi2\n", None),
        (None, None),
    ],
)
def test_cpus_of_amd_use_avx2(cpu, monkeypatch, description, chosen):
    if description is not None:
        cpu(description)
    paddle_import.use_avx2_on_amd()
    assert paddle_import.os.environ.get(VARIABLE) == chosen
    monkeypatch.setenv(VARIABLE, "4")
    paddle_import.use_avx2_on_amd()
    assert paddle_import.os.environ[VARIABLE] == "4"
