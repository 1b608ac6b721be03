"""Parts that several nets share: norms, convolution blocks, folding of time, padding.

Shapes: B clips, T frames, N = B·T folded frames, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm


class IBNorm(nn.Module):
    """Batch norm on the first half of the channels, instance norm (no weights, no memory) on the rest.

    On a CPU both halves are one pass of x · scale + shift, with statistics in float32: cutting the map in two and
    joining it again, as the official code does, is two to three times slower there.

    Source: the official code of MODNet.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm2d(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        norm = self.batch_norm
        # Statistics of all processes are the norm's own business; on a GPU launches cost more than passes over the map.
        # PyTorch's instance norm refuses maps of one pixel.
        if not isinstance(norm, nn.BatchNorm2d) or (x.is_cuda and x.shape[2] * x.shape[3] > 1):
            return self.apart(x)
        if not norm.training:
            return _ib_norm(x, norm.weight, norm.bias, norm.eps, norm.running_mean, norm.running_var)[0]
        y, mean, var = _ib_norm(x, norm.weight, norm.bias, norm.eps, None, None)
        count = x.shape[0] * x.shape[2] * x.shape[3]
        follow(norm, mean, var * (count / max(count - 1, 1)))
        return y

    def apart(self, x: Tensor) -> Tensor:
        """`forward` by PyTorch's two norms: a fifth of the kernels, but slower on a CPU."""
        norm = self.batch_norm
        batch, instance = x.split((norm.num_features, x.shape[1] - norm.num_features), dim=1)
        return torch.cat((norm(batch), F.instance_norm(instance, eps=norm.eps).to(batch.dtype)), dim=1)


class RestOfIBNorm(nn.Module):
    """What is left of an `IBNorm` in eval mode when a convolution has taken its batch norm over.

    In place and without joining: the map keeps its memory layout, and half of it is not touched.
    """

    def __init__(self, norm: IBNorm) -> None:
        super().__init__()
        self.first, self.eps = norm.batch_norm.num_features, norm.batch_norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → itself, the instance norm on its last channels."""
        rest = x[:, self.first :]
        if x.is_cuda and x.shape[2] * x.shape[3] > 1:
            rest.copy_(F.instance_norm(rest, eps=self.eps))
            return x
        wide = rest.to(torch.promote_types(x.dtype, torch.float32))
        mean = wide.mean((2, 3), keepdim=True)
        inverse = (wide - mean).square_().mean((2, 3), keepdim=True).add_(self.eps).rsqrt_()
        rest.copy_(torch.addcmul(-mean * inverse, wide, inverse))
        return x


@torch.no_grad()
def follow(norm: BatchNorm, mean: Tensor, var: Tensor) -> None:
    """Move a norm's running statistics towards those of a batch, as PyTorch's own layers do.

    Args:
        norm: goes by its `momentum`, with None to the mean over all batches; not at all without `track_running_stats`.
        mean, var: (C,), of the batch; the variance with Bessel's correction.
    """
    if not norm.track_running_stats:
        return
    # The type checker does not see that these three are None together.
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(var, share)


def _ib_norm(x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    # Without gradient the plain function: exporters and tracers do not know ours.
    run = _IBNormFunction.apply if torch.is_grad_enabled() else _ib_norm_parts
    y, mean, var, *_ = run(x, *arguments)
    return y, mean, var


def _ib_norm_parts(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, mean: Tensor | None, var: Tensor | None
) -> tuple[Tensor, ...]:
    """IBNorm of (N, C, H, W); `mean` and `var` are running statistics, or None to take the batch's.

    Returns:
        y, then mean and var of the batch-normed half, (C/2,); then what the backward pass needs, each
        (N, C, 1, 1): centre, 1 / standard deviation, scale; y = (x − centre) · scale + bias.
    """
    half, wide = weight.shape[0], x.to(torch.promote_types(x.dtype, torch.float32))
    kept = half if mean is not None else 0
    # Two passes: the mean of squares minus the squared mean would lose digits.
    part = wide[:, kept:]
    means = part.mean((2, 3), keepdim=True)
    variances = (part - means).square_().mean((2, 3), keepdim=True)
    if mean is None or var is None:
        # Statistics of the batch from those of its samples: all have the same number of pixels.
        mean = means[:, :half].mean((0, 2, 3))
        var = variances[:, :half].mean((0, 2, 3)) + (means[:, :half, 0, 0] - mean).square().mean(0)
    shape = (x.shape[0], half, 1, 1)
    centre = torch.cat((mean[:, None, None].expand(shape), means[:, half - kept :]), dim=1)
    inverse = torch.cat((var[:, None, None].expand(shape), variances[:, half - kept :]), dim=1).add_(eps).rsqrt_()
    rest = x.shape[1] - half
    ones, zeros = weight.new_ones(rest), bias.new_zeros(rest)
    scale = inverse * torch.cat((weight, ones))[:, None, None]
    shift = torch.cat((bias, zeros))[:, None, None] - centre * scale
    return torch.addcmul(shift, wide, scale).to(x.dtype), mean, var, centre, inverse, scale


class _IBNormFunction(torch.autograd.Function):
    """`_ib_norm_parts` with its gradient in closed form: three passes over the map instead of ten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, var, *saved = _ib_norm_parts(x, *arguments)
        ctx.save_for_backward(x, *saved)
        ctx.half, ctx.uses_batch = arguments[0].shape[0], arguments[3] is None
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, centre, inverse, scale = ctx.saved_tensors
        half, grad, wide = ctx.half, grad_y.to(scale.dtype), x.to(scale.dtype)
        # Means over the map of g and of g · x̂, with x̂ = (x − centre) · inverse.
        mean_g = grad.mean((2, 3), keepdim=True)
        mean_gx = ((grad * wide).mean((2, 3), keepdim=True) - centre * mean_g) * inverse
        pixels = x.shape[2] * x.shape[3]
        grad_weight = mean_gx[:, :half].sum((0, 2, 3)) * pixels
        grad_bias = mean_g[:, :half].sum((0, 2, 3)) * pixels
        # Batch statistics pass the gradient of the whole batch on, running ones none.
        share = mean_g.new_ones(()) if ctx.uses_batch else mean_g.new_zeros(())
        mean_g, mean_gx = (
            torch.cat(((share * m[:, :half].mean(0, keepdim=True)).expand_as(m[:, :half]), m[:, half:]), dim=1)
            for m in (mean_g, mean_gx)
        )
        # g_x = scale · (g − mean g − x̂ · mean g·x̂)
        slope = -scale * inverse * mean_gx
        grad_x = torch.addcmul(torch.addcmul(-scale * mean_g - slope * centre, wide, slope), grad, scale)
        return grad_x.to(x.dtype), grad_weight, grad_bias, None, None, None


class ConvBlock(nn.Module):
    """Convolution with bias, IBNorm, ReLU; an odd kernel is padded so that only the stride shrinks the map."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)
        self.norm = IBNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → (N, out_channels, H / stride, W / stride)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


def to_image(frames: Tensor) -> Tensor:
    """Frames (N, 3, H, W) in [0, 1] → [−1, 1], laid out for convolutions."""
    return conv_layout(frames * 2 - 1)


def conv_layout(x: Tensor) -> Tensor:
    """(N, C, H, W) in the memory layout that suits convolutions; what is computed from it keeps the layout."""
    # On a CPU, convolutions of few channels are up to 4 times as fast with channels last.
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def join(*parts: Tensor) -> Tensor:
    """Maps (N, C_i, H, W) joined along their channels; on a CPU the gradient of each comes back dense.

    As views of the whole's gradient, which plain concatenation gives, they would send convolutions and resizing down
    slower ways there.
    """
    # Without gradient the plain function: exporters and tracers do not know ours.
    if torch.is_grad_enabled() and any(part.requires_grad for part in parts):
        joined: Tensor = _JoinFunction.apply(*parts)
        return joined
    return torch.cat(parts, dim=1)


class _JoinFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.channels = [part.shape[1] for part in parts]
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        parts = grad.split(ctx.channels, dim=1)
        return tuple(
            conv_layout(part) if needed else None for part, needed in zip(parts, ctx.needs_input_grad, strict=True)
        )


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (N, C, H, W) to `size`, without antialiasing; `x` itself if it has that size."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def scale(x: Tensor, factor: float) -> Tensor:
    """Bilinear resize of (N, C, H, W) by a factor, without antialiasing."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def reduced_side(side: int, factor: float) -> int:
    """⌊side · factor⌋, at least 1; also of sides of a graph that serves all sizes, which are no numbers yet."""
    return at_least(1, (side.double() * factor).long() if isinstance(side, Tensor) else torch.sym_int(side * factor))


def at_least(least: int, side: int) -> int:
    """The larger of the two; `side` may be of a graph that serves all sizes."""
    larger: Any = side.clamp(min=least) if isinstance(side, Tensor) else torch.sym_max(least, side)
    return larger


def serves_all_sizes() -> bool:
    """Whether a graph is being exported, which is to hold for frames of every size and number."""
    return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()


def fold_time(clip: Tensor) -> Tensor:
    """(B, T, C, H, W) → (B·T, C, H, W)."""
    return clip.flatten(0, 1)


def unfold_time(frames: Tensor, num_frames: int) -> Tensor:
    """(B·T, C, H, W) → (B, T, C, H, W) with T = `num_frames`."""
    return frames.unflatten(0, (-1, num_frames))


def split_frames(frames: Tensor, training: bool) -> tuple[Tensor, ...]:
    """Frames (N, C, H, W) in groups of 8 · 512² pixels, at most 8 frames: memory does not grow with the clip.

    In training all are one group, since batch norms see all frames at once; in an exported graph there is but one.
    """
    if training or serves_all_sizes():
        return (frames,)
    return frames.split(min(8, max(1, 8 * 512**2 // (frames.shape[-2] * frames.shape[-1]))))


def join_frames(groups: Sequence[Tensor]) -> Tensor:
    """Groups of `split_frames` as one; a single one is not copied."""
    return groups[0] if len(groups) == 1 else torch.cat(tuple(groups))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) at the bottom and the right, repeating the border, until `multiple` divides H and W."""
    if torch.compiler.is_exporting():
        return _gathered(x, tuple((side + multiple - 1) // multiple * multiple for side in x.shape[-2:]))
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    if serves_all_sizes() or bottom or right:
        return F.pad(x, (0, right, 0, bottom), mode="replicate")
    return x


def crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The top left `size` of (…, H, W): undoes `pad_to_multiple`."""
    if torch.compiler.is_exporting():
        return _gathered(x, size)
    return x[..., : size[0], : size[1]]


def _gathered(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """(…, H, W) cut to `size` or its border repeated up to there, as an exported graph does it for every size.

    A slice or a padding of such a graph would hold only where it does something, or only where it does nothing.
    """
    rows, columns = (
        torch.arange(side, device=x.device).clamp(max=given - 1) for side, given in zip(size, x.shape[-2:], strict=True)
    )
    return x.index_select(-2, rows).index_select(-1, columns)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Inside, the running statistics of all batch norms stay as they are; normalisation is unchanged."""
    norms = [m for m in module.modules() if isinstance(m, BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def clamp_inward(x: Tensor) -> Tensor:
    """`x` clamped to [0, 1]; a gradient passes inside of it, and outside of it if a step along it leads back.

    >>> x = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    >>> clamp_inward(x).sum().backward()  # a step makes x smaller
    >>> x.grad
    tensor([0., 1., 1.])
    """
    clamped: Tensor = _ClampInward.apply(x)
    return clamped


class _ClampInward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * torch.where(grad > 0, x >= 0, x <= 1)
