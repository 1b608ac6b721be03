"""Every loss of the papers, a function each: `(pred, target)` → scalar, frames folded into the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.ranks import mean_over_ranks

# MODNet's blur of the semantic target: a Gaussian (sigma 0.8) filtered onto an impulse whose border is
# mirrored, so the tails fold back. Practically 1-2-1, not the plain cut Gaussian.
SEMANTIC_BLUR = (0.25022, 0.49956, 0.25022)


def trimap(alpha: Tensor, dilation: int, erosion: int) -> Tensor:
    """Trimap of a matte: 1 foreground, 0 background, 0.5 in the transition band.

    Args:
        alpha: (N, 1, H, W) in [0, 1].
        dilation: window in pixels that grows alpha > 0; even windows count as the next odd one.
        erosion: window in pixels that shrinks alpha ≥ 0.9.
    Source: MODNet, author's answer in issue 108: the band is where the two windows disagree.
    """
    alpha = alpha.float()
    core = (alpha >= 0.9).to(alpha.dtype)
    grown = _dilate((alpha > 0).to(alpha.dtype), dilation)
    shrunk = 1 - _dilate(1 - core, erosion)
    return torch.where(grown != shrunk, torch.full_like(core, 0.5), core)


def _dilate(mask: Tensor, window: int) -> Tensor:
    """Grey dilation with a square window, mirrored borders, as two passes of a line."""
    reach = window // 2
    limit = min(mask.shape[-2:]) - 1
    mask = F.pad(mask, (min(reach, limit),) * 4, mode="reflect") if reach else mask
    odd = 2 * min(reach, limit) + 1
    return F.max_pool2d(F.max_pool2d(mask, (odd, 1), stride=1), (1, odd), stride=1)


def trimap_windows(size: int, generator: torch.Generator) -> tuple[int, int]:
    """Windows (dilation, erosion) in pixels, each drawn from 4 % to 8 % of the side.

    Args:
        size: shorter side of the frames in pixels.
        generator: draws both.
    Source: MODNet, issue 108: even numbers from 20 to 40 at 512.
    """
    draws = torch.randint(10, 21, (2,), generator=generator).tolist()
    dilation, erosion = (max(1, round(draw * size / 256)) for draw in draws)
    return dilation, erosion


def semantic_target(alpha: Tensor) -> Tensor:
    """What the semantic branch learns: alpha at 1/16, blurred; (N, 1, H, W) → (N, 1, ⌈H/16⌉, ⌈W/16⌉).

    Down16 is bilinear without antialiasing (MODNet, section 3 of the code's losses).
    """
    height, width = (-(-side // 16) for side in alpha.shape[-2:])
    alpha = F.pad(_wide(alpha), (0, 16 * width - alpha.shape[-1], 0, 16 * height - alpha.shape[-2]), mode="replicate")
    return blur(F.interpolate(alpha, scale_factor=1 / 16, mode="bilinear", align_corners=False))


def blur(alpha: Tensor) -> Tensor:
    """MODNet's 3 × 3 blur with mirrored borders; (N, 1, h, w) → (N, 1, h, w)."""
    mode = "reflect" if min(alpha.shape[-2:]) > 1 else "replicate"
    x = F.pad(_wide(alpha), (1, 1, 1, 1), mode=mode)
    # Sums and no convolution, which mixed precision would run in half precision.
    before, middle, after = SEMANTIC_BLUR
    x = before * x[..., :-2, :] + middle * x[..., 1:-1, :] + after * x[..., 2:, :]
    return before * x[..., :-2] + middle * x[..., 1:-1] + after * x[..., 2:]


def _wide(x: Tensor) -> Tensor:
    """`x` in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def semantic_loss(pred: Tensor, alpha: Tensor) -> Tensor:
    """Mean squared error of the semantic estimate against the blurred 1/16 matte.

    Args:
        pred: (N, 1, h, w) in [0, 1].
        alpha: (N, 1, H, W) in [0, 1] with h = ⌈H/16⌉, or any finer grid than pred's, which is then
            first reduced by area to 16 × pred's size (MODNet-V, whose semantic branch sees a smaller frame).
    Source: MODNet, L_s (unweighted).
    """
    expected = (16 * pred.shape[-2], 16 * pred.shape[-1])
    if alpha.shape[-2] > expected[0] or alpha.shape[-1] > expected[1]:
        alpha = F.interpolate(alpha, expected, mode="area")
    return F.mse_loss(pred.float(), semantic_target(alpha.float()))


def detail_loss(pred: Tensor, alpha: Tensor, band: Tensor) -> Tensor:
    """Absolute error of the detail matte inside the transition band, divided by all pixels.

    Args:
        pred: (N, 1, H, W) in [0, 1].
        alpha: the same shape, the truth.
        band: (N, 1, H, W) bool, the trimap's unknown band.
    Source: MODNet, L_d (unweighted). The divisor counts all pixels, not the band's.
    """
    return ((pred - alpha).abs() * band).mean()


def matte_loss(pred: Tensor, alpha: Tensor, tri: Tensor, image: Tensor) -> Tensor:
    """Alpha error plus colour error, the transition band counted five times.

    Args:
        pred: (N, 1, H, W) in [0, 1].
        alpha: the same shape, the truth.
        tri: the same shape, trimap of 0, 0.5, 1.
        image: (N, 3, H, W) normalised to [-1, 1], as the official code multiplies it.
    Source: MODNet, L_alpha. On the known region the term |trimap − alpha| has no gradient but a value.
    """
    band = tri == 0.5
    copied = torch.where(band, pred, tri)
    alpha_part = (pred - alpha).abs().mean() + 4 * (copied - alpha).abs().mean()
    colour = (image.abs() * (pred - alpha).abs()).mean() + 4 * (image.abs() * (copied - alpha).abs()).mean()
    return alpha_part + colour


def charbonnier(pred: Tensor, target: Tensor, weight: Tensor | float = 1.0, eps: float = 1e-6) -> Tensor:
    """Weighted γ·√((pred − target)² + ε²), element by element, in float32 at least (ε² vanishes in half precision).

    Source: MODNet-V, Eq. 7 and 8.
    >>> charbonnier(torch.tensor([1.0]), torch.tensor([3.0]), weight=4.0)
    tensor([8.])
    """
    return weight * torch.sqrt((_wide(pred) - _wide(target)) ** 2 + eps**2)


def background_loss(pred: Tensor, background: Tensor, band: Tensor, where: Tensor | None) -> Tensor:
    """Error of the image decoded from the restored background features.

    Args:
        pred: (N, 3, h, w) in [-1, 1], decoded on the grid of the features.
        background: (N, 3, H, W) in [0, 1], the true background.
        band: (N, 1, H, W) bool, the portrait's boundary; a cell with any such pixel counts four times.
        where: (N, 1, h, w) 0/1, cells that count (the restored ones), or None for all.
    Source: MODNet-V, Eq. 7. γ = 4 at portrait boundaries. The mean over cells is our choice (printed as a sum);
    it is over those of all processes that train together.
    """
    grid = pred.shape[-2:]
    target = 2 * F.interpolate(background.float(), grid, mode="area") - 1
    gamma = 1 + 3 * F.adaptive_max_pool2d(band.float(), grid)
    error = charbonnier(pred, target, gamma)
    if where is None:
        return error.mean()
    return (error * where).sum() / (3 * mean_over_ranks(where.sum())).clamp(min=1)


def flaw_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy of the flaw map with a soft target, (N, 1, k, k) both; target in [0, 1].

    Source: MODNet-V, section 3.4 names the map; what supervises it is our choice: the patch's mean error.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), target.float())


def matte_and_foreground_terms(
    alpha: Tensor, foreground: Tensor, true_alpha: Tensor, true_foreground: Tensor
) -> dict[str, Tensor]:
    """BackgroundMattingV2's terms "alpha", "gradient" and "foreground" at one scale: means of absolute errors.

    Args:
        alpha, true_alpha: (N, 1, H, W) in [0, 1].
        foreground, true_foreground: (N, 3, H, W) in [0, 1]; they count where the true alpha is not 0, but the mean
            is over all pixels.
    Source: Lin et al., CVPR 2021, section 4.3; the official code.
    """
    visible = true_alpha != 0
    return {
        "alpha": F.l1_loss(alpha, true_alpha),
        "gradient": F.l1_loss(sobel(alpha), sobel(true_alpha)),
        "foreground": F.l1_loss(foreground * visible, true_foreground * visible),
    }


def sobel(x: Tensor) -> Tensor:
    """Magnitude of the Sobel gradient, per pixel, of (N, 1, H, W); borders are repeated.

    Source: kornia 0.4, which BackgroundMattingV2 calls: kernels of sum 1 in absolute value, √(gx² + gy² + 1e-6).
    """
    # Sums and no convolution, which mixed precision would run in half precision, where 1e-6 is next to nothing.
    x = F.pad(_wide(x), (1, 1, 1, 1), mode="replicate")
    down = (x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]) / 8
    across = (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 8
    gx, gy = down[..., 2:] - down[..., :-2], across[..., 2:, :] - across[..., :-2, :]
    return torch.sqrt(gx**2 + gy**2 + 1e-6)


def error_map_loss(error: Tensor, alpha: Tensor, true_alpha: Tensor, detach: bool = True) -> Tensor:
    """Squared error of the base network's estimate of its own error, at the size of the truth.

    Args:
        error: (N, 1, h, w) in [0, 1], the estimate.
        alpha: (N, 1, h, w) in [0, 1], what it is the error of.
        true_alpha: (N, 1, H, W) in [0, 1].
        detach: alpha gets no gradient from this term, as in phase 1 of the official code; in phase 2 it does there.
    Source: BackgroundMattingV2's official code (the paper writes a norm).
    """
    size = true_alpha.shape[-2:]
    error, alpha = (F.interpolate(x, size, mode="bilinear", align_corners=False) for x in (error, alpha))
    target = (alpha - true_alpha).abs()
    return F.mse_loss(error, target.detach() if detach else target)


def soc_semantic_loss(semantic: Tensor, alpha: Tensor) -> Tensor:
    """Mutual consistency of the semantic estimate and the reduced matte, each a pseudo target of the other.

    Args:
        semantic: (N, 1, h, w) in [0, 1].
        alpha: (N, 1, H, W) in [0, 1], H = 16 h.
    Source: MODNet's SOC, L_cons as in the published code (weight 100 there).
    """
    reduced = semantic_target(alpha)
    wanted = (reduced * (reduced > 0.01)).detach()
    mirror = (semantic * (semantic > 0.01)).detach()
    return F.mse_loss(semantic, wanted) + F.mse_loss(reduced, mirror)


def soc_band(alpha: Tensor, semantic: Tensor) -> Tensor:
    """Boundary region in which SOC keeps details, (N, 1, H, W) in {0, 1}.

    Source: MODNet's SOC: window of 5 % of the mean side around alpha > 0.1 gated by the enlarged semantic > 0.1.
    """
    gate = F.interpolate((semantic > 0.1).to(alpha.dtype), alpha.shape[-2:], mode="bilinear", align_corners=False)
    mask = (alpha > 0.1) * gate
    window = max(1, int(sum(alpha.shape[-2:]) / 2 * 0.05))
    return (_dilate(mask, window) != 1 - _dilate(1 - mask, window)).to(alpha.dtype)


def soc_detail_loss(pred: Tensor, teacher: Tensor, band: Tensor) -> Tensor:
    """Absolute difference to the frozen copy inside the band, mean over samples; an empty band counts as 0.

    Args:
        pred: (N, 1, H, W), detail or alpha of the net that learns.
        teacher: the same of the copy made at the start of the epoch.
        band: (N, 1, H, W) in {0, 1}.
    """
    per_sample = ((pred - teacher).abs() * band).flatten(1).sum(1) / band.flatten(1).sum(1).clamp(min=1)
    return per_sample.mean()


def rvm_terms(pred: Tensor, pred_foreground: Tensor, alpha: Tensor, foreground: Tensor) -> dict[str, Tensor]:
    """The five terms of RVM's matting loss, unweighted.

    Args:
        pred: (B, T, 1, H, W) in [0, 1].
        pred_foreground: (B, T, 3, H, W) in [0, 1]; counts where the true alpha is above 0, all else as 0.
        alpha: shape of `pred`, the truth.
        foreground: shape of `pred_foreground`, the truth.

    Returns:
        alpha_l1, alpha_laplacian, alpha_coherence, foreground_l1, foreground_coherence.
    Source: RVM, Eq. 3 to 8; weights 1, 1, 5, 1, 5. Each frame is masked before it is compared with the one
    before, and all pixels are in the divisor, as in the official code.
    """
    pred, alpha = _wide(pred), _wide(alpha)
    mask = alpha > 0
    pred_foreground, foreground = _wide(pred_foreground) * mask, _wide(foreground) * mask
    return {
        "alpha_l1": F.l1_loss(pred, alpha),
        "alpha_laplacian": laplacian_loss(pred.flatten(0, 1), alpha.flatten(0, 1)),
        "alpha_coherence": coherence_loss(pred, alpha),
        "foreground_l1": F.l1_loss(pred_foreground, foreground),
        "foreground_coherence": coherence_loss(pred_foreground, foreground),
    }


def coherence_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the change from frame to frame, (B, T, C, H, W) both; 0 for a single frame.

    Source: RVM, Eq. 5, whose norm is a squared difference in the official code.
    """
    if pred.shape[1] == 1:
        return pred.sum() * 0
    return _wide(pred - target).diff(dim=1).square().mean()


def laplacian_loss(pred: Tensor, target: Tensor, levels: int = 5) -> Tensor:
    """Mean over levels of a Laplacian pyramid of 2^k · mean absolute error at level k.

    Args:
        pred: (N, C, H, W).
        target: the same shape.
        levels: of them, those are left out on which a side is below 4 pixels; none is from 64 pixels on.
    Source: RVM, Eq. 4, after Hou and Liu (ICCV 2019). The last low pass is no part of it.
    """
    # A level is linear in the image: that of the difference is the difference of the two.
    error = _wide(pred - target)
    loss = error.sum() * 0
    for level in range(levels):
        if min(error.shape[-2:]) < 4:
            break
        error, detail = _split_frequencies(error)
        loss = loss + 2**level / levels * detail.abs().mean()
    return loss


def _split_frequencies(x: Tensor) -> tuple[Tensor, Tensor]:
    """Blurred image at half the size, and what that lacks of (N, C, H, W), which is first cut to even sides.

    The blur is 1-4-6-4-1, borders mirrored. Enlarging is filling up with zeros, then the same blur: even
    pixels become (1, 6, 1) / 8 of the small image, odd ones the mean of two.
    """
    x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
    small = x
    for dim in (-1, -2):
        small = _halve_blurred(small.transpose(dim, -1)).transpose(dim, -1)
    large = small
    for dim in (-1, -2):
        large = _double_blurred(large.transpose(dim, -1)).transpose(dim, -1)
    return small, x - large


def _halve_blurred(x: Tensor) -> Tensor:
    x = F.pad(x, (2, 2, 0, 0), mode="reflect")
    outer, middle = x[..., :-4:2] + x[..., 4::2], x[..., 1:-3:2] + x[..., 3:-1:2]
    return (outer + 4 * middle + 6 * x[..., 2:-2:2]) / 16


def _double_blurred(x: Tensor) -> Tensor:
    # Mirrored among the zeros: the border's neighbour on the left, the border again on the right.
    before, after = torch.cat((x[..., 1:2], x[..., :-1]), dim=-1), torch.cat((x[..., 1:], x[..., -1:]), dim=-1)
    return torch.stack(((before + 6 * x + after) / 8, (x + after) / 2), dim=-1).flatten(-2)


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross entropy of logits with a mask in [0, 1], soft where it was resized; the same shape both.

    Source: RVM, Eq. 9.
    """
    return F.binary_cross_entropy_with_logits(_wide(logits), _wide(mask))
