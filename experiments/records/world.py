"""In what world a record was made: versions, machine, commit, time, memory."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def describe_versions() -> dict[str, str]:
    """Versions of Python, of this project and of the packages that decide a run's numbers."""
    packages = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy")
    found = {"python": platform.python_version(), "project": _version("portrait-matting-lab")}
    return found | {name: _version(name) for name in packages}


def describe_hardware() -> dict[str, Any]:
    """Processor, its cores, the threads that torch uses, and the GPU's name ("" without one)."""
    import torch  # here, so that reading records stays quick

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def git_commit() -> str:
    """Commit of the code that runs, with " (dirty)" if its code or configs differ; "unknown" outside a checkout.

    Results that an earlier run has written over committed ones change no code.
    """
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    code = (":/*.py", ":/*.yaml", ":/pyproject.toml")
    return f"{commit} (dirty)" if _git("status", "--porcelain", "--untracked-files=no", "--", *code) else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # on Linux platform.processor() is empty or only "x86_64"
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory_gib(device: torch.device) -> float:
    """The most memory that this process held at once, of the GPU if it computes there."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def now() -> str:
    """The time in UTC, in ISO's form, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
