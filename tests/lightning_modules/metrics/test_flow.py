import numpy as np
import pytest
import torch

from lightning_modules.metrics import EndPointError
from lightning_modules.metrics.flow import end_point_error


def flows(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    pair = 10 * torch.randn(2, 2, 3, 2, 8, 12, generator=torch.Generator().manual_seed(seed))
    return pair[0], pair[1]


def test_it_is_the_mean_distance_of_the_two_ends() -> None:
    pred, target = flows()
    difference = (pred - target).double().numpy()
    expected = np.hypot(difference[:, :, 0], difference[:, :, 1]).mean((2, 3))
    np.testing.assert_allclose(end_point_error(pred, target), expected, rtol=1e-6)
    assert end_point_error(pred, pred).abs().max() == 0


def test_only_the_region_counts_and_an_empty_one_is_undefined() -> None:
    pred, target = flows()
    region = torch.zeros(2, 3, 1, 8, 12, dtype=torch.bool)
    region[:, :2, :, 2:4, 5:9] = True
    values = end_point_error(pred, target, region)
    torch.testing.assert_close(
        values[:, :2], end_point_error(pred[:, :2, :, 2:4, 5:9], target[:, :2, :, 2:4, 5:9]), rtol=1e-6, atol=0
    )
    assert values[:, 2].isnan().all()


def test_the_class_leaves_the_first_frame_out() -> None:
    metric = EndPointError()
    kept = []
    for seed in (0, 1):
        pred, target = flows(seed)
        metric.update(pred, target)
        kept.append(end_point_error(pred, target)[:, 1:])
    assert metric.compute().item() == pytest.approx(torch.cat(kept).mean().item())


def test_other_shapes_are_refused() -> None:
    pred, target = flows()
    with pytest.raises(ValueError, match=r"expected \(B, T, 2, H, W\) twice"):
        end_point_error(pred, target[:, :2])
    with pytest.raises(ValueError, match="expected a region"):
        end_point_error(pred, target, torch.ones(2, 3, 2, 8, 12, dtype=torch.bool))
