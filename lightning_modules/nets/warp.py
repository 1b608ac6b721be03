"""Reading a map where a backward flow points to: how maps of the last frame are brought to this one."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.nets.blocks import resize


def backward_warp(x: Tensor, flow: Tensor, padding: Literal["zeros", "border"] = "zeros") -> Tensor:
    """`x` read at p + flow(p), bilinear; a flow by whole pixels copies values, up to float rounding.

    Args:
        x: (N, C, H, W), a map of frame t−1.
        flow: (N, 2, H, W) in pixels of this map, (dx, dy), from frame t to t−1.
        padding: what is read where the flow leaves the map (see `lands_inside`): zero or its nearest border.

    Returns:
        (N, C, H, W) as seen from frame t.
    >>> backward_warp(torch.arange(4.0).view(1, 1, 1, 4), torch.tensor([-1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4))
    tensor([[[[0., 0., 1., 2.]]]])
    """
    # Half precision would move points by up to half a pixel.
    with torch.autocast(x.device.type, enabled=False):
        across, down = _points(flow).unbind(dim=-1)
        # Side by side, as a tensor of both sides would be a constant of a traced graph.
        grid = torch.stack(((2 * across + 1) / flow.shape[-1] - 1, (2 * down + 1) / flow.shape[-2] - 1), dim=-1)
        return F.grid_sample(x.to(grid.dtype), grid, "bilinear", padding, align_corners=False).to(x.dtype)


def lands_inside(flow: Tensor) -> Tensor:
    """Where p + flow(p) lies on the map, as bool (N, 1, H, W); flow (N, 2, H, W) in pixels of the map."""
    x, y = _points(flow).unbind(dim=-1)
    # The tolerance is PWC-Net's, which asks whether a warped map of ones stays above 0.9999.
    height, width = flow.shape[-2:]
    across = (x >= -1e-4) & (x <= width - 1 + 1e-4)
    return (across & (y >= -1e-4) & (y <= height - 1 + 1e-4))[:, None]


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """A flow (…, 2, h, w) at another size (height, width), its values in pixels of that size.

    >>> resize_flow(torch.full((1, 2, 4, 8), 6.0), (2, 2)).amax((0, 2, 3))
    tensor([1.5000, 3.0000])
    """
    height, width = flow.shape[-2:]
    x, y = resize(flow.flatten(0, -4), size).unbind(1)
    return torch.stack((x * (size[1] / width), y * (size[0] / height)), dim=1).reshape(*flow.shape[:-2], *size)


def _points(flow: Tensor) -> Tensor:
    """The points p + flow(p), (N, H, W, 2), in float32 at least."""
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
    x = torch.arange(flow.shape[-1], device=flow.device, dtype=flow.dtype)
    y = torch.arange(flow.shape[-2], device=flow.device, dtype=flow.dtype)
    return torch.stack((flow[:, 0] + x, flow[:, 1] + y[:, None]), dim=-1)
