from dataclasses import fields
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from datamodules.difficulty import STRATA, Difficulty


def test_options_change_by_name_and_lists_become_ranges() -> None:
    changed = Difficulty.of({"pan": [0.0, 0.1]}).but({"cut_share": 0.5})
    assert changed == Difficulty(pan=(0.0, 0.1), cut_share=0.5)
    assert hash(changed) == hash(Difficulty(pan=(0.0, 0.1), cut_share=0.5))
    assert Difficulty.of(changed) is changed


@pytest.mark.parametrize("name", STRATA)
def test_default_strata_are_known_options(name: str) -> None:
    assert Difficulty().but(STRATA[name]) != Difficulty()


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown pann; known are absence_share"):
        Difficulty().but({"pann": (0, 0)})
    with pytest.raises(ValueError, match="pan must be"):
        Difficulty(pan=(0.2, 0.1))
    with pytest.raises(ValueError, match="pan must be"):
        Difficulty(pan=0.2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cut_share must lie"):
        Difficulty(cut_share=1.5)
    with pytest.raises(ValueError, match=r"camouflage must lie in \[0, 1\]"):
        Difficulty(camouflage=(0.0, 2.0))
    with pytest.raises(ValueError, match=r"photometric must lie in \[0, 1\]"):
        Difficulty(photometric=-0.5)
    with pytest.raises(ValueError, match=r"jpeg_quality must lie in \[1, 100\]"):
        Difficulty(jpeg_quality=(0, 50))
    with pytest.raises(ValueError, match="h264_crf must be two whole numbers"):
        Difficulty(h264_crf=(18.5, 20))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="crop_width must lie"):
        Difficulty(crop_width=0.5)


def test_default_strata_are_those_of_the_configs() -> None:
    config = OmegaConf.load(Path(__file__).parents[2] / "experiments" / "configs" / "data" / "base.yaml")
    written = OmegaConf.to_container(config.test_strata)
    assert isinstance(written, dict)
    assert list(written) == list(STRATA)
    for name, changes in written.items():
        assert Difficulty().but(changes) == Difficulty().but(STRATA[str(name)])


def test_configs_tell_every_option_and_what_is_new_is_off() -> None:
    config = OmegaConf.load(Path(__file__).parents[2] / "experiments" / "configs" / "data" / "base.yaml")
    written = OmegaConf.to_container(config.difficulty)
    assert isinstance(written, dict)
    assert set(written) == {item.name for item in fields(Difficulty)}
    off = ("jpeg_share", "h264_share", "alpha_gamma_share", "foreground_brightness", "foreground_contrast")
    for name in (*off, "foreground_saturation", "foreground_hue", "crop_height", "crop_width"):
        assert getattr(Difficulty().but(written), name) == getattr(Difficulty(), name)
