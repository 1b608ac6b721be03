"""Nets made ready for many frames: what changes their speed and not, but for rounding, their mattes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from lightning_modules.nets.blocks import IBNorm, RestOfIBNorm
from lightning_modules.nets.flow import FlowEstimator


def make_fast(net: nn.Module) -> None:
    """Prepare a net, in eval mode and for good, for a stream: norms folded into convolutions, weights laid out."""
    fold_batch_norms(net)
    weights_channels_last(net)


def weights_channels_last(net: nn.Module) -> None:
    """Lay out the weights of convolutions with channels last."""
    net.to(memory_format=torch.channels_last)


def weights_in_half(net: nn.Module) -> None:
    """Keep weights and buffers in float16, but for norms, whose statistics may lie beyond it, and nets for flow."""
    kept = {part for each in net.modules() if isinstance(each, BatchNorm | FlowEstimator) for part in each.modules()}
    for part in (part for part in net.modules() if part not in kept):
        for weight in part.parameters(recurse=False):
            weight.data = weight.data.half()
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_floating_point():
                setattr(part, name, buffer.half())


def fold_batch_norms(net: nn.Module) -> None:
    """Fold each batch norm that directly follows a convolution among its parent's parts into that convolution.

    Of an `IBNorm` the half that is one.

    Direct followers in the order of definition are those that follow in the computation, in torchvision's
    blocks and in ours; that outputs stay is tested for every net of the table.
    """
    for parent in net.modules():
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            # A subclass may do more than convolve.
            if not isinstance(conv, nn.Conv2d) or type(conv).forward is not nn.Conv2d.forward:
                continue
            if isinstance(norm, nn.BatchNorm2d) and conv.out_channels == norm.num_features:
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
            elif isinstance(norm, IBNorm) and isinstance(norm.batch_norm, nn.BatchNorm2d) and conv.bias is not None:
                _fold_first_channels(conv, norm.batch_norm)
                setattr(parent, norm_name, RestOfIBNorm(norm))


@torch.no_grad()
def _fold_first_channels(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Let a convolution give its first channels as a norm of so many would."""
    assert conv.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    first, mean, var = norm.num_features, norm.running_mean, norm.running_var
    weight, bias = fuse_conv_bn_weights(
        conv.weight[:first], conv.bias[:first], mean, var, norm.eps, norm.weight, norm.bias
    )
    conv.weight[:first], conv.bias[:first] = weight, bias
