"""Going on in a new job when SLURM is about to take the machine: save, requeue, end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType


class TimeIsUp(KeyboardInterrupt):
    """SLURM's warning (`#SBATCH --signal`) has come: end as on Ctrl-C, then requeue the job."""


def heed_warning() -> None:
    """In a SLURM job, take SIGUSR1 for the warning that its time is up."""

    def handler(signum: int, frame: FrameType | None) -> None:
        raise TimeIsUp

    if "SLURM_JOB_ID" in os.environ:
        signal.signal(signal.SIGUSR1, handler)


def ignore_warning() -> None:
    """Leave warnings to the process that started this one: SLURM and submitit send them to the whole group."""
    for warning in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(warning, signal.SIG_IGN)


def requeue() -> bool:
    """Have SLURM start this job, or this task of its array, again; whether it took the request."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        told = " ".join(str(getattr(error, "stderr", "") or error).split())
        print(f"job {job} could not be requeued ({told}); submit it again", file=sys.stderr)
        return False
    print(f"job {job} is requeued and goes on from here", file=sys.stderr)
    return True
