"""A stand-in for Lightning's trainer."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import torch


@dataclass
class FakeTrainer:
    """What a data module asks its trainer for."""

    global_rank: int = 0
    world_size: int = 1
    global_step: int = 0
    accumulate_grad_batches: int = 1
    strategy: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(root_device=torch.device("cpu")))
