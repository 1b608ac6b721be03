"""A stand-in for Lightning's trainer."""

from dataclasses import dataclass


@dataclass
class FakeTrainer:
    """What a data module asks its trainer for."""

    global_rank: int = 0
    world_size: int = 1
    global_step: int = 0
    accumulate_grad_batches: int = 1
