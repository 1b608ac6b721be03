"""Reading a map where a backward flow points to: how maps of the last frame are brought to this one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def backward_warp(x: Tensor, flow: Tensor) -> Tensor:
    """`x` read at p + flow(p), bilinear; a flow by whole pixels copies values, up to float rounding.

    Args:
        x: (N, C, H, W), a map of frame t−1.
        flow: (N, 2, H, W) in pixels of this map, (dx, dy), from frame t to t−1.

    Returns:
        (N, C, H, W) as seen from frame t; zero where the flow leaves the map (see `lands_inside`).
    >>> backward_warp(torch.arange(4.0).view(1, 1, 1, 4), torch.tensor([-1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4))
    tensor([[[[0., 0., 1., 2.]]]])
    """
    # Half precision would move points by up to half a pixel.
    with torch.autocast(x.device.type, enabled=False):
        points = _points(flow)
        size = points.new_tensor([x.shape[-1], x.shape[-2]])
        grid = (2 * points + 1) / size - 1
        return F.grid_sample(x.to(grid.dtype), grid, "bilinear", "zeros", align_corners=False).to(x.dtype)


def lands_inside(flow: Tensor) -> Tensor:
    """Where p + flow(p) lies on the map, as bool (N, 1, H, W); flow (N, 2, H, W) in pixels of the map."""
    x, y = _points(flow).unbind(dim=-1)
    # The tolerance is PWC-Net's, which asks whether a warped map of ones stays above 0.9999.
    height, width = flow.shape[-2:]
    across = (x >= -1e-4) & (x <= width - 1 + 1e-4)
    return (across & (y >= -1e-4) & (y <= height - 1 + 1e-4))[:, None]


def _points(flow: Tensor) -> Tensor:
    """The points p + flow(p), (N, H, W, 2), in float32 at least."""
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
    x = torch.arange(flow.shape[-1], device=flow.device, dtype=flow.dtype)
    y = torch.arange(flow.shape[-2], device=flow.device, dtype=flow.dtype)
    return torch.stack((flow[:, 0] + x, flow[:, 1] + y[:, None]), dim=-1)
