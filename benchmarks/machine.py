"""Describe the machine and the versions that the figures depend on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "ivy_models",
    "ivy",
    "numpy",
    "torch",
    "jax",
    "tensorflow",
    "tensorflow-cpu",
    "transformers",
)


def describe_machine(device: str) -> dict[str, str]:
    description = {"CPU": f"{_cpu_model()}, {os.cpu_count()} cores"}
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        description["Memory"] = f"{memory / 2**30:.0f} GiB"
    if device != "cpu":
        description["GPU"] = _gpu_model()
    if hasattr(os, "getloadavg"):  # other busy threads slow the subjects unequally
        description["Load before the start"] = f"{os.getloadavg()[0]:.1f} busy threads"
    description["Versions"] = ", ".join(_versions())
    return description


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*: (.+)", cpuinfo.read_text())):
        return found[1]
    return platform.processor() or platform.machine()


def _gpu_model() -> str:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        names = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return ", ".join(names.strip().splitlines())


def _versions() -> list[str]:
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return versions
