"""Optical flow behind one interface: two frames in, backward flow out; the table of all estimators.

The true flow of a composite ("oracle") and no flow at all ("none") are no estimators: nets that use flow are given
the one and assume the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights, raft_large, raft_small

from lightning_modules.nets.blocks import at_least, crop, serves_all_sizes
from lightning_modules.nets.pwcnet import PWCNet, load_pwcnet

WITHOUT_ESTIMATOR = ("oracle", "none")


class FlowEstimator(nn.Module):
    """Base of all estimators: the call, padding, precision.

    Attributes:
        multiple: of the sides that `estimate` needs; frames are padded to it.
        smallest: side that it needs, pixels, a multiple of `multiple`.
    """

    multiple: int = 1
    smallest: int = 1

    def forward(self, frame: Tensor, previous: Tensor) -> Tensor:
        """Where everything was one frame before.

        Args:
            frame: (N, 3, H, W), RGB in [0, 1], frame t.
            previous: the same of frame t − 1.

        Returns:
            (N, 2, H, W) float32, pixels (dx, dy): what is at p in frame t was at p + flow(p) in frame t − 1.

        Raises:
            ValueError: the frames have other or different shapes.
        """
        if frame.ndim != 4 or frame.shape[1] != 3 or frame.shape != previous.shape:
            shapes = f"{tuple(frame.shape)} and {tuple(previous.shape)}"
            raise ValueError(f"flow needs two frames (N, 3, H, W) of one size, got {shapes}")
        # Half precision would cost tenths of a pixel.
        with torch.autocast(frame.device.type, enabled=False):
            flow = self.estimate(self._padded(frame.float()), self._padded(previous.float()))
            return crop(flow, (frame.shape[-2], frame.shape[-1]))

    def estimate(self, frame: Tensor, previous: Tensor) -> Tensor:
        """`forward` on float32 frames of sides that fit."""
        raise NotImplementedError(f"{type(self).__name__} has no estimate")

    def load_pretrained(self) -> None:
        """Take the published weights, if there are any that may be downloaded."""

    def _padded(self, x: Tensor) -> Tensor:
        """`x` with its bottom and right border repeated up to a side that fits."""
        sides = (-(-side // self.multiple) * self.multiple for side in x.shape[-2:])
        below, right = (at_least(self.smallest, side) - given for side, given in zip(sides, x.shape[-2:], strict=True))
        return F.pad(x, (0, right, 0, below), mode="replicate") if serves_all_sizes() or below or right else x


class PWC(FlowEstimator):
    """Our PWC-Net, the estimator of Context Motion Network."""

    multiple = 64
    smallest = 64

    def __init__(self, channel_order: Literal["bgr", "rgb"] = "bgr", weights: str | None = None) -> None:
        """Random weights.

        Args:
            channel_order: "bgr" for the published weights, "rgb" for those of ptlflow's `pwcnet`.
            weights: file that `load_pretrained` reads. They are for non-commercial use and never downloaded.
        """
        super().__init__()
        if channel_order not in ("bgr", "rgb"):
            raise ValueError(f"channel_order must be bgr or rgb, got {channel_order!r}")
        self.channel_order, self.weights = channel_order, weights
        self.net = PWCNet()

    def estimate(self, frame: Tensor, previous: Tensor) -> Tensor:
        """Flow at a quarter of the size, enlarged; the values are pixels of the frame already."""
        if self.channel_order == "bgr":
            frame, previous = frame.flip(1), previous.flip(1)
        return F.interpolate(self.net(frame, previous), scale_factor=4, mode="bilinear", align_corners=False)

    def load_pretrained(self) -> None:
        """Read the file of weights.

        Raises:
            ValueError: none is given: with random ones the net would not be the published one.
        """
        if self.weights is None:
            raise ValueError(
                "PWC-Net's published weights are not downloaded, since they are for non-commercial use: give "
                "model.flow_options.weights=FILE, or model.pretrained=false to start all from random weights"
            )
        load_pwcnet(self.net, self.weights)


class RAFT(FlowEstimator):
    """RAFT of torchvision (Teed and Deng, ECCV 2020), whose weights are free."""

    multiple = 8
    smallest = 128

    def __init__(self, size: Literal["small", "large"], num_updates: int = 12) -> None:
        """Random weights; `num_updates` rounds of refinement, fewer are faster."""
        super().__init__()
        if num_updates < 1:
            raise ValueError(f"num_updates must be at least 1, got {num_updates}")
        self.size, self.num_updates = size, num_updates
        self.net = raft_small(weights=None) if size == "small" else raft_large(weights=None)

    def estimate(self, frame: Tensor, previous: Tensor) -> Tensor:
        """The last of its refined flows."""
        flow: Tensor = self.net(2 * frame - 1, 2 * previous - 1, num_flow_updates=self.num_updates)[-1]
        return flow

    def load_pretrained(self) -> None:
        """Take torchvision's weights (downloads them once)."""
        weights = (Raft_Small_Weights if self.size == "small" else Raft_Large_Weights).DEFAULT
        self.net.load_state_dict(weights.get_state_dict(progress=False, check_hash=True))


class DIS(FlowEstimator):
    """Dense inverse search of OpenCV (Kroeger et al., ECCV 2016): no weights, no gradient, on the CPU."""

    smallest = 32

    def __init__(self, preset: Literal["ultrafast", "fast", "medium"] = "medium") -> None:
        """`preset`: from fast to careful."""
        super().__init__()
        if preset not in ("ultrafast", "fast", "medium"):
            raise ValueError(f"preset must be ultrafast, fast or medium, got {preset!r}")
        self.preset = preset

    def estimate(self, frame: Tensor, previous: Tensor) -> Tensor:
        """Pair by pair, from grey bytes."""
        import cv2
        import numpy as np

        opencv: Any = cv2
        search = opencv.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{self.preset.upper()}"))
        grey = frame.new_tensor([0.299, 0.587, 0.114])[:, None, None]
        pairs = torch.stack((frame, previous), dim=1).detach()
        pixels = ((pairs * grey).sum(2) * 255).round().clamp(0, 255).byte().cpu().numpy()
        return torch.from_numpy(np.stack([search.calc(a, b, None) for a, b in pixels])).movedim(-1, 1).to(frame)


class PTLFlow(FlowEstimator):
    """Any estimator of the package ptlflow by its name there; each has its own licence.

    The package is no dependency: it pins others, and its opencv overwrites the headless one.
    """

    multiple = 64
    smallest = 128

    def __init__(self, name: str) -> None:
        """Random weights.

        Raises:
            ValueError: ptlflow is not installed or knows no such name.
        """
        super().__init__()
        self.name = name
        self.net: nn.Module = self._make()

    def estimate(self, frame: Tensor, previous: Tensor) -> Tensor:
        """The package takes both frames as one clip, in BGR."""
        flow: Tensor = self.net({"images": torch.stack((frame, previous), dim=1).flip(2)})["flows"][:, 0]
        return flow

    def load_pretrained(self) -> None:
        """Take ptlflow's checkpoint (downloads it once): the one for Sintel, as the paper, where there is one."""
        checkpoints: Any = getattr(self.net, "pretrained_checkpoints", {})
        if checkpoints:
            name = "sintel" if "sintel" in checkpoints else next(iter(checkpoints))
            self.net.load_state_dict(self._make(name).state_dict())

    def _make(self, checkpoint: str | None = None) -> nn.Module:
        try:
            import ptlflow
        except ImportError as error:
            raise ValueError(
                f"flow {self.name!r} needs ptlflow, which is not installed: pip install 'portrait-matting-lab[flow]'"
            ) from error
        try:
            return ptlflow.get_model(self.name, ckpt_path=checkpoint)
        except ValueError as error:
            raise ValueError(f"ptlflow gives no {self.name!r}: {' '.join(str(error).split())[:200]}") from error


FLOWS: dict[str, Callable[..., FlowEstimator]] = {
    "pwcnet": PWC,
    "raft_small": partial(RAFT, "small"),
    "raft_large": partial(RAFT, "large"),
    "maskflownet": partial(PTLFlow, "maskflownet"),
    "dis": DIS,
}


def build_flow(name: str, **options: Any) -> FlowEstimator | None:
    """An estimator with random weights by its name in `FLOWS`, or "ptlflow:NAME" for any of that package.

    Returns:
        The estimator; None for "oracle" and "none".

    Raises:
        ValueError: no estimator has that name, or that one no such option.
    >>> build_flow("dis")(torch.zeros(1, 3, 40, 50), torch.zeros(1, 3, 40, 50)).shape
    torch.Size([1, 2, 40, 50])
    """
    if name in WITHOUT_ESTIMATOR and not options:
        return None
    build = partial(PTLFlow, name.removeprefix("ptlflow:")) if name.startswith("ptlflow:") else FLOWS.get(name)
    if build is None and name not in WITHOUT_ESTIMATOR:
        names = ", ".join((*FLOWS, *WITHOUT_ESTIMATOR))
        raise ValueError(f"flow must be one of {names} or ptlflow:NAME, got {name!r}")
    known = {} if build is None else inspect.signature(build).parameters
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"flow {name!r} has no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")
    assert build is not None
    return build(**options)


def check_flow(flow: Tensor | None, frames: Tensor, needed_by: str | None = None) -> None:
    """Raise ValueError unless a true flow fits its frames (B, T, 3, H, W), and is there where an option needs it."""
    expected = (*frames.shape[:2], 2, *frames.shape[-2:])
    if flow is None and needed_by is not None:
        raise ValueError(f"{needed_by} needs the true flow: net(frames, flow=…), from data with data.flow=true")
    if flow is not None and flow.shape != expected:
        raise ValueError(f"flow must be {expected}, got {tuple(flow.shape)}")
