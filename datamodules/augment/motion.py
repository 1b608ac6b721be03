"""Random camera paths, and the affines that show a source's canvas along them.

Every affine maps an output pixel (x, y, 1) to a canvas pixel, so that a layer is resampled once. A path is
(T, 5): rotation and shear in degrees, the shift (x, y) in units of the output's shorter side, the natural
logarithm of the zoom.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from datamodules.dice import Draws

ROTATION, SHEAR, SHIFT_X, SHIFT_Y, LOG_ZOOM = range(5)


def random_path(
    num_frames: int,
    generator: torch.Generator,
    *,
    speed: float = 1.0,
    pan: float = 0.0,
    shake_std: float = 0.0,
    degrees: float = 5.0,
    shear_degrees: float = 3.0,
    shift: float = 0.08,
    zoom: tuple[float, float] = (1.0, 1.25),
    frames_per_move: int = 10,
) -> Tensor:
    """A camera's path: from one random pose to the next, with a random easing in each move.

    Args:
        num_frames: T.
        generator: all draws; two paths of one generator state differ only by what the options say.
        speed: factor of the way from the first pose; rotation, shear and zoom never grow beyond their
            ranges. 0 stays in the first pose.
        pan: constant shift per frame in a random direction, in sides.
        shake_std: standard deviation of hand shake per frame, in sides.
        degrees: largest rotation, either way.
        shear_degrees: largest shear, either way.
        shift: largest shift, either way, in sides.
        zoom: its range.
        frames_per_move: frames from one pose to the next, both included.

    Returns:
        (T, 5) float64.
    Source: MODNet-V composes 10 frames on one still moved by translation and affine motion; the ranges are ours.
    """
    num_moves = max(1, math.ceil((num_frames - 1) / (frames_per_move - 1)))
    angle = float(torch.rand((), generator=generator)) * 2 * math.pi
    draws = torch.rand(num_moves + 1, 6, generator=generator, dtype=torch.float64)
    shake = torch.randn(num_frames, 2, generator=generator, dtype=torch.float64) * shake_std
    easings = [_EASINGS[int(draw * len(_EASINGS))] for draw in draws[1:, 5].tolist()]
    low = torch.tensor([-degrees, -shear_degrees, -shift, -shift, math.log(zoom[0])], dtype=torch.float64)
    high = torch.tensor([degrees, shear_degrees, shift, shift, math.log(zoom[1])], dtype=torch.float64)
    poses = low + (high - low) * draws[:, :5]
    turn = min(speed, 1.0)
    poses = poses[:1] + (poses - poses[:1]) * torch.tensor([turn, turn, speed, speed, turn], dtype=torch.float64)

    position = torch.arange(num_frames, dtype=torch.float64) / (frames_per_move - 1)
    move = position.long().clamp(max=num_moves - 1)
    progress = torch.tensor(
        [easings[m](p) for m, p in zip(move.tolist(), (position - move).tolist(), strict=True)],
        dtype=torch.float64,
    )
    path = torch.lerp(poses[move], poses[move + 1], progress[:, None])
    direction = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    path[:, SHIFT_X : SHIFT_Y + 1] += shake + pan * torch.arange(num_frames)[:, None] * direction
    return path


def absences(num_frames: int, draws: Draws) -> Tensor:
    """How far out of the picture somebody is who comes, goes, or goes and comes back, one as likely as the other.

    Args:
        num_frames: T; of a clip of one frame nobody is missing.
        draws: the clip's dice.

    Returns:
        (T,) float64 in [0, 1]: 0 in the picture, 1 just out of it. Who comes is out for the first 10 to 50 % of the
        clip, who goes leaves after 30 to 60 %, who comes back leaves within 20 % and is away for 10 to 20 %; each way
        takes 20 to 40 % of the clip.
    """

    def share(what: str, low: float, high: float) -> float:
        return draws.number(f"absence {what}", (low, high))

    away, home = share("way out", 0.2, 0.4), share("way back", 0.2, 0.4)
    match draws.integer("absence", 0, 2):
        case 0:
            arrives = share("until", 0.1, 0.5)
            times, places = [arrives, arrives + home], [1.0, 0.0]
        case 1:
            leaves = share("from", 0.3, 0.6)
            times, places = [leaves, leaves + away], [0.0, 1.0]
        case _:
            leaves, gone = share("from", 0.0, 0.2), share("gone", 0.1, 0.2)
            times = [leaves, leaves + away, leaves + away + gone, leaves + away + gone + home]
            places = [0.0, 1.0, 1.0, 0.0]
    position = np.arange(num_frames) / max(num_frames - 1, 1)
    out = np.interp(position, times, places) if num_frames > 1 else np.zeros(1)
    return torch.from_numpy(out * out * (3 - 2 * out))


def nearer(path: Tensor, parallax: float) -> Tensor:
    """The path as a nearer plane sees it: shifted `parallax` times as far from frame 0."""
    near = path.clone()
    shift = path[:, SHIFT_X : SHIFT_Y + 1]
    near[:, SHIFT_X : SHIFT_Y + 1] = shift[:1] + parallax * (shift - shift[:1])
    return near


def path_matrices(path: Tensor, size: tuple[int, int]) -> Tensor:
    """A path as matrices (T, 3, 3) float64: output pixel → pixel of a picture that lies still under the output.

    Args:
        path: (T, 5).
        size: (height, width) of the output.
    """
    height, width = size
    angle, shear = path[:, ROTATION].deg2rad(), path[:, SHEAR].deg2rad()
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    sheared = torch.eye(2, dtype=path.dtype).repeat(len(path), 1, 1)
    sheared[:, 0, 1] = shear.tan()
    linear = rotation @ sheared / path[:, LOG_ZOOM].exp()[:, None, None]
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=path.dtype)
    matrices = torch.eye(3, dtype=path.dtype).repeat(len(path), 1, 1)
    matrices[:, :2, :2] = linear
    matrices[:, :2, 2] = centre - linear @ centre + min(size) * path[:, SHIFT_X : SHIFT_Y + 1]
    return matrices


def cover(matrices: Tensor, size: tuple[int, int], canvas: tuple[int, int], view: float = 1.0) -> Tensor:
    """Lay a canvas under the output so that no frame shows its border.

    The output shows `view` of the canvas; if the path needs more room, it shows a smaller piece of it.

    Args:
        matrices: (T, 3, 3), as `path_matrices` gives them.
        size: (height, width) of the output.
        canvas: (height, width) of the canvas.
        view: side of the largest piece that the output can show, in sides of the canvas, in (0, 1].

    Returns:
        (3, 3) still picture under the output → canvas pixel; times `matrices` it is output → canvas.
    """
    height, width = size
    corners = torch.tensor(
        [[x, y, 1.0] for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)], dtype=matrices.dtype
    )
    seen = (matrices @ corners.T)[:, :2]
    low, high = seen.amin((0, 2)), seen.amax((0, 2))
    extent = torch.tensor([canvas[1], canvas[0]], dtype=matrices.dtype)
    output = torch.tensor([width, height], dtype=matrices.dtype)
    scale = torch.minimum(view * (extent / output).amin(), (extent / (high - low)).amin())
    centred = (extent - 1) / 2 - scale * (output - 1) / 2
    offset = torch.maximum(torch.minimum(centred, extent - 0.5 - scale * high), -0.5 - scale * low)
    to_canvas = torch.eye(3, dtype=matrices.dtype)
    to_canvas[0, 0] = to_canvas[1, 1] = scale
    to_canvas[:2, 2] = offset
    return to_canvas


def place(
    size: tuple[int, int],
    canvas: tuple[int, int],
    scale: float,
    position: tuple[float, float],
    flip: bool,
    offset: float = 0.0,
) -> Tensor:
    """Where a foreground's canvas lies in the output.

    A canvas larger than the output is cropped; a smaller one stands on the output's lower edge, since
    half-body pictures end there.

    Args:
        size: (height, width) of the output.
        canvas: (height, width) of the foreground's canvas.
        scale: size of the canvas; at 1 it just covers the output.
        position: (x, y) in [0, 1] of the crop, or of the smaller canvas along the edge (x).
        flip: mirror left and right.
        offset: x reaches from this far left of the frame's middle to as far right of it, in the output's shorter
            sides, where the sizes alone do not let it; the canvas is then cut off at a side of the frame.

    Returns:
        (3, 3) float64, output → canvas pixel.
    """
    height, width = size
    pixels = scale * max(height / canvas[0], width / canvas[1])
    middle = (width - canvas[1] * pixels) / 2
    left = middle + (2 * position[0] - 1) * math.copysign(max(abs(middle), offset * min(size)), middle)
    free = height - canvas[0] * pixels
    # So deep that the lower end of the canvas, interpolated over its last half pixel, is out of sight.
    depth = (pixels - 1) / 2
    top = max(position[1] * free, free + max(depth, 0)) if free < 0 else free + max(depth, 1)
    matrix = torch.eye(3, dtype=torch.float64) / pixels
    matrix[0, 2] = (0.5 - left) / pixels - 0.5
    matrix[1, 2] = (0.5 - top) / pixels - 0.5
    matrix[2, 2] = 1
    if flip:
        matrix[0] = torch.tensor([0, 0, canvas[1] - 1], dtype=torch.float64) - matrix[0]
    return matrix


def stand(placed: Tensor, matrices: Tensor, size: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """Move a placed canvas, but never so that its lower end, where half-body pictures are cut off, comes into view.

    Args:
        placed: (3, 3), as `place` gives it.
        matrices: (T, 3, 3), as `path_matrices` gives them.
        size: (height, width) of the output.
        canvas: (height, width) of the canvas.

    Returns:
        (T, 3, 3) output → canvas pixel; the whole path is lowered by as much as its highest frame needs.
    """
    corners = torch.tensor([[-0.5, size[0] - 0.5, 1], [size[1] - 0.5, size[0] - 0.5, 1]], dtype=placed.dtype).T
    # A pixel of the output deeper than the canvas ends, out of reach of the interpolation; or as deep as it stands. Of
    # many pixels of the output in one of the canvas the last must be above the middle of the canvas's last.
    end = torch.minimum(canvas[0] - 0.5 - placed[1, 1], canvas[0] - 1 + placed[1, 1] / 2)
    deepest = torch.maximum((placed @ corners)[1].amax(), end)
    lowered = placed.clone()
    lowered[1, 2] -= ((placed @ matrices @ corners)[:, 1].amax() - deepest).clamp_min(0)
    return lowered @ matrices


def _linear(p: float) -> float:
    return p


def _ease_in(p: float) -> float:
    return p * p


def _ease_out(p: float) -> float:
    return p * (2 - p)


def _ease_in_out(p: float) -> float:
    return p * p * (3 - 2 * p)


_EASINGS = (_linear, _ease_in, _ease_out, _ease_in_out)
