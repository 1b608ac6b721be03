"""Memory that one call needs at most, beyond what it was given."""

from __future__ import annotations

import os

import torch

from experiments.benchmarks.timing import Work


def peak_bytes(work: Work, device: torch.device) -> int:
    """Largest sum of tensors that one call holds at once, weights and inputs not counted.

    On CUDA the device's allocator says it; on the CPU the profiler reports every allocation of torch (scratch space
    of the libraries beneath it is not seen). Neither depends on what ran before.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # else it complains of missing GPUs on stderr
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
