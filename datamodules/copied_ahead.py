"""Batches copied to a device while it still computes the step before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device


class CopiedAhead:
    """The batches of a loader on a device, each copied on a stream of its own while the step before is computed.

    Args:
        loader: of batches in pinned memory, from which a device copies by itself; read anew each time.
        device: where they are wanted. The CPU has no streams: there batches only come one later.
    """

    def __init__(self, loader: Iterable[Any], device: torch.device) -> None:
        self.loader, self.device = loader, device

    def __len__(self) -> int:
        assert isinstance(self.loader, Sized)
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        streams = torch.get_device_module(self.device)
        copying = streams.Stream() if self.device.type == "cpu" else streams.Stream(self.device)
        before: tuple[Any, Any] | None = None
        for batch in self.loader:
            # A copy goes where an earlier batch lay: what is computed of that one was asked for before.
            copying.wait_stream(streams.current_stream(self.device))
            with streams.stream(copying):
                copied = move_data_to_device(batch, self.device), copying.record_event()
            if before is not None:
                yield self._awaited(*before)
            before = copied
        if before is not None:
            yield self._awaited(*before)

    def _awaited(self, batch: Any, copied: Any) -> Any:
        """The batch; what is computed from now on waits, on the device, until it is copied."""
        torch.get_device_module(self.device).current_stream(self.device).wait_event(copied)
        return batch


def copied_ahead(loader: Any, trainer: Any) -> Any:
    """A loader of training batches as it is, or, for a trainer on a CUDA device, copied ahead to that."""
    device = None if trainer is None else trainer.strategy.root_device
    return CopiedAhead(loader, device) if device is not None and device.type == "cuda" else loader
