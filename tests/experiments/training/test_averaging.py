"""The moving average of weights equals the formula to the last bit, in few operations."""

import copy

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.training.averaging import MovingAverage, move_average, tensors_of
from lightning_modules.nets import build_net
from tests.lightning_modules.test_module import fit, small_module


class Counted(TorchDispatchMode):
    operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.operations += not func.is_view
        return func(*args, **(kwargs or {}))


def test_an_average_has_the_bits_of_pytorchs_tensor_by_tensor_in_a_hundredth_of_the_operations() -> None:
    net = build_net("modnet_v", width=0.25, hidden=8).to(memory_format=torch.channels_last)
    expected = AveragedModel(net, use_buffers=True, avg_fn=get_ema_avg_fn(0.98))
    expected.update_parameters(net)
    average = [each.clone() for each in tensors_of(net)]
    for _ in range(60):  # until counters are cut off often enough to differ from rounded ones
        for each in tensors_of(net):
            each.add_(torch.rand_like(each) if each.is_floating_point() else 1)
        with Counted() as tensor_by_tensor:
            expected.update_parameters(net)
        with Counted() as counted:
            move_average(average, tensors_of(net), 0.98)
    assert all(map(torch.equal, tensors_of(expected.module), average))
    assert 100 * counted.operations <= tensor_by_tensor.operations


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_training_ends_with_the_weights_that_lightnings_callback_leaves(decay: float) -> None:
    ours = small_module()
    lightnings = copy.deepcopy(ours)
    callbacks: list[pl.Callback] = [MovingAverage(decay), EMAWeightAveraging(decay=decay)]
    for module, callback in zip((ours, lightnings), callbacks, strict=True):
        fit(module, callbacks=[callback], val_check_interval=2)
    assert all(map(torch.equal, tensors_of(ours), tensors_of(lightnings)))
