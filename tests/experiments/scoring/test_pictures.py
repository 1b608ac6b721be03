"""Pictures that are written."""

from pathlib import Path

import pytest
import torch

from datamodules.files.pictures import read_image
from experiments.scoring.pictures import FORMATS, write_picture


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_is_written_in_the_format_of_its_name(tmp_path: Path, suffix: str) -> None:
    red = torch.zeros(3, 16, 24)
    red[0] = 1
    write_picture(tmp_path / f"a{suffix}", red)
    assert (read_image(tmp_path / f"a{suffix}").float() / 255 - red).abs().max() < 0.02
    assert len(list(tmp_path.iterdir())) == 1


def test_a_name_of_another_format_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.gif: pictures are written as \.png, \.jpg, \.webp"):
        write_picture(tmp_path / "a.gif", torch.zeros(3, 4, 4))
