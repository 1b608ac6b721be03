import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine

from datamodules.augment.pose import Pose, pose_matrices
from datamodules.dice import Draws
from datamodules.resample import resample


def test_the_first_pose_is_at_the_start_the_last_at_the_end_and_shifts_are_whole_pixels_there() -> None:
    still, moved = Pose(0, 0, 0, 1, 0), Pose(0, 0.26, -0.26, 1, 0)
    matrices = pose_matrices(still, moved, [0.0, 0.5, 1.0], (20, 10))
    assert torch.equal(matrices[0], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(matrices[2, :2, 2], torch.tensor([-3.0, 5.0], dtype=torch.float64))  # 2.6 and −5.2
    torch.testing.assert_close(matrices[1, :2, 2], torch.tensor([-1.5, 2.5], dtype=torch.float64))


@pytest.mark.parametrize("index", range(3))
def test_a_posed_picture_is_the_one_that_torchvision_makes(index: int) -> None:
    pose = Pose.drawn(Draws((index,)), "pose", (0.8, 1.5))
    coarse = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(index))
    picture = torch.nn.functional.interpolate(coarse, (40, 56), mode="bicubic").clamp(0, 1)
    shift = [round(pose.shift_x * 56), round(pose.shift_y * 40)]
    expected = affine(
        picture, pose.degrees, shift, pose.scale, [pose.shear_degrees, 0.0], interpolation=InterpolationMode.BILINEAR
    )
    matrices = pose_matrices(pose, pose, [0.0], (40, 56))
    seen = resample(picture[None], matrices[None, :, :2].float(), 40, 56, "zeros")[0]
    torch.testing.assert_close(seen, expected, atol=2e-3, rtol=0)
