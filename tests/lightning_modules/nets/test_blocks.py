import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.nets import blocks


def reference_ib_norm(norm, x):
    """BatchNorm on the first half, InstanceNorm on the second, as two library calls."""
    half = norm.num_features
    first = F.batch_norm(
        x[:, :half], norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, norm.momentum, norm.eps
    )
    return torch.cat((first, F.instance_norm(x[:, half:])), dim=1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels", [8, 7])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("way", [blocks.IBNorm.forward, blocks.IBNorm.apart])
def test_ib_norm_equals_batch_norm_and_instance_norm(training, channels, layout, way):
    torch.manual_seed(0)
    block = blocks.IBNorm(channels).double().train(training)
    norm = block.batch_norm
    for part in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        part.data.uniform_(0.5, 2)
    twin = torch.nn.BatchNorm2d(channels // 2).double().train(training)
    twin.load_state_dict(norm.state_dict())
    x = (torch.randn(3, channels, 5, 6, dtype=torch.float64) * 2 + 4).contiguous(memory_format=layout)
    grad = torch.randn_like(x)
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    y1, y2 = way(block, x1), reference_ib_norm(twin, x2)
    torch.testing.assert_close(y1, y2)
    y1.backward(grad)
    y2.backward(grad)
    torch.testing.assert_close(x1.grad, x2.grad)
    torch.testing.assert_close(norm.weight.grad, twin.weight.grad)
    torch.testing.assert_close(norm.bias.grad, twin.bias.grad)
    torch.testing.assert_close(norm.running_mean, twin.running_mean)
    torch.testing.assert_close(norm.running_var, twin.running_var)
    assert norm.num_batches_tracked == int(training)


def test_ib_norm_with_frozen_batch_norm_inside_a_training_net_leaves_its_statistics():
    block = blocks.IBNorm(4).train()
    block.batch_norm.eval()
    block(torch.randn(2, 4, 3, 3) + 5).sum().backward()
    assert torch.equal(block.batch_norm.running_mean, torch.zeros(2))
    assert block.batch_norm.weight.grad is not None


@settings(max_examples=30)
@given(height=st.integers(1, 70), width=st.integers(1, 70), multiple=st.sampled_from([2, 32, 64]))
def test_crop_undoes_padding(height, width, multiple):
    x = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    padded = blocks.pad_to_multiple(x, multiple)
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    assert padded.shape[-2] - height < multiple
    assert torch.equal(blocks.crop(padded, (height, width)), x)
    assert padded[0, 0, -1, -1] == x[0, 0, -1, -1]


def test_unfolding_undoes_folding_and_keeps_the_frames_of_a_clip_together():
    clip = torch.rand(2, 3, 1, 4, 5)
    folded = blocks.fold_time(clip)
    assert torch.equal(folded[1], clip[0, 1])
    assert torch.equal(blocks.unfold_time(folded, 3), clip)


def test_frozen_statistics_leaves_them_and_lets_norms_follow_again():
    norms = torch.nn.Sequential(torch.nn.BatchNorm2d(2), blocks.IBNorm(4))
    before = {key: value.clone() for key, value in norms.state_dict().items()}
    with blocks.frozen_statistics(norms):
        norms[0](torch.rand(2, 2, 3, 3))
        norms[1](torch.rand(2, 4, 3, 3))
    after = norms.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    norms[1](torch.rand(2, 4, 3, 3) + 1)
    assert not torch.equal(before["1.batch_norm.running_mean"], norms[1].batch_norm.running_mean)


@pytest.mark.parametrize("norm", [blocks.IBNorm(4), torch.nn.BatchNorm2d(4)])
def test_an_infinite_map_leaves_frozen_statistics_finite(norm):
    with blocks.frozen_statistics(norm):
        norm(torch.full((2, 4, 3, 3), torch.inf))
    assert all(buffer.isfinite().all() for buffer in norm.buffers())


def test_ib_norm_without_momentum_takes_the_mean_over_all_batches():
    block, twin = blocks.IBNorm(6), torch.nn.BatchNorm2d(3, momentum=None)
    block.batch_norm.momentum = None
    for _ in range(3):
        x = torch.randn(2, 6, 5, 4) * torch.rand(()) + torch.rand(())
        block(x)
        twin(x[:, :3])
    for got, expected in zip(block.batch_norm.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(got, expected)


class RecordingNorm(torch.nn.SyncBatchNorm):
    """A synchronised norm of a single process, which torch runs on GPUs only."""

    def forward(self, x):
        self.seen = x.shape[1]
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


def test_ibnorm_leaves_its_statistics_to_a_synchronised_norm():
    norm = blocks.IBNorm(6)
    x = torch.randn(2, 6, 5, 7)
    expected = norm(x)
    norm.batch_norm = RecordingNorm(3)
    assert torch.allclose(norm(x), expected, atol=1e-5)
    assert norm.batch_norm.seen == 3


def test_joined_maps_have_the_gradients_of_concatenated_ones_but_dense():
    first, second = (torch.randn(2, channels, 6, 5, requires_grad=True) for channels in (3, 4))
    image, weights = torch.randn(2, 3, 6, 5), torch.randn(2, 10, 6, 5)
    grads = {}
    for way, joined in (("join", blocks.join), ("cat", lambda *parts: torch.cat(parts, dim=1))):
        met = []
        parts = [part * 1.0 for part in (first, second)]  # an inner map, as of a layer
        for part in parts:
            part.register_hook(met.append)
        (joined(parts[0], image, parts[1]) * weights).sum().backward()
        grads[way] = first.grad, second.grad
        first.grad = second.grad = None
        if way == "join":
            assert all(grad.is_contiguous(memory_format=torch.channels_last) for grad in met)
    assert all(torch.equal(one, other) for one, other in zip(*grads.values(), strict=True))
    assert not blocks.join(image, image).requires_grad
