"""What of a picture is its alpha: the same for stills, frames and videos."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.files.mattes import doubts, read_matte, read_mattes
from datamodules.video import write_video


def person(height: int = 40, width: int = 60) -> np.ndarray:
    """A soft-edged alpha (H, W), head down to the lower edge."""
    y, x = np.mgrid[:height, :width]
    alpha = np.clip(12 - np.hypot(x - width / 2, (y - 30) / 2), 0, 1)
    return (255 * alpha).round().astype(np.uint8)


def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def as_grey(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(alpha)


def as_rgb(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(alpha).convert("RGB")


def as_cut_out(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colours(), alpha]))


def as_opaque_rgba(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(alpha).convert("RGBA")


def as_grey_and_alpha(alpha: np.ndarray) -> Image.Image:
    return Image.merge("LA", [Image.new("L", (60, 40), 255), Image.fromarray(alpha)])


def as_sixteen_bits(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(alpha.astype(np.uint16) * 257)


def as_grey_palette(alpha: np.ndarray) -> Image.Image:
    image = Image.fromarray(255 - alpha)  # the index is not the value
    image.putpalette([255 - i for i in range(256) for _ in range(3)])
    return image


GOOD = [as_grey, as_rgb, as_cut_out, as_opaque_rgba, as_grey_and_alpha, as_sixteen_bits, as_grey_palette]


@pytest.mark.parametrize("form", GOOD)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_every_form_of_a_matte_is_the_same_alpha(tmp_path: Path, form: object, suffix: str) -> None:
    if (form, suffix) == (as_grey_palette, "tif"):
        suffix = "bmp"
    form(person()).save(tmp_path / f"x.{suffix}")  # type: ignore[operator]
    assert (read_matte(tmp_path / f"x.{suffix}")[0].numpy() == person()).all()


def test_one_bit_is_transparent_or_opaque(tmp_path: Path) -> None:
    Image.fromarray(person() > 127).save(tmp_path / "x.png")
    assert (read_matte(tmp_path / "x.png")[0].numpy() == 255 * (person() > 127)).all()


@pytest.mark.parametrize("form", [as_grey, as_rgb])
def test_a_colour_called_transparent_is_no_alpha(tmp_path: Path, form: object) -> None:
    image = form(person())  # type: ignore[operator]
    image.save(tmp_path / "x.png", transparency=0 if image.mode == "L" else (255, 255, 255))
    assert (read_matte(tmp_path / "x.png")[0].numpy() == person()).all()


def red(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([alpha, 0 * alpha, 0 * alpha]))


def coloured_palette(alpha: np.ndarray) -> Image.Image:
    image = Image.fromarray((alpha > 127).astype(np.uint8))
    image.putpalette([0, 0, 0, 128, 0, 0])
    return image


def photo(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(colours())


def numbers(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray((alpha > 127).astype(np.uint8))


def small_sixteen_bits(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(alpha.astype(np.uint16))


def class_numbers(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(15 * (alpha > 127).astype(np.uint8))


def sixteen_bit_numbers(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray((alpha > 127).astype(np.uint16))


def twelve_of_sixteen_bits(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(alpha.astype(np.uint16) * 16)


BAD = {red: "has colours", coloured_palette: "has colours", photo: "has colours", numbers: "nothing exceeds 1 of 255",
       small_sixteen_bits: "nothing exceeds 1 of 255", sixteen_bit_numbers: "nothing exceeds 1 of 255",
       class_numbers: "nothing exceeds 15 of 255", twelve_of_sixteen_bits: "nothing exceeds 16 of 255"}  # fmt: skip


@pytest.mark.parametrize("form", BAD)
def test_what_is_no_matte_is_refused_as_a_still_and_as_a_frame(tmp_path: Path, form: object) -> None:
    for t in range(3):
        form(person()).save(tmp_path / f"{t}.png")  # type: ignore[operator]
    with pytest.raises(ValueError, match=rf"0\.png: .*{BAD[form]}"):  # type: ignore[index]
        read_matte(tmp_path / "0.png")
    with pytest.raises(ValueError, match=BAD[form]) as error:  # type: ignore[index]
        read_mattes(tmp_path, [0, 2], 40, 60)
    assert str(tmp_path) in str(error.value)


def test_an_empty_frame_with_noise_is_no_mask_of_numbers(tmp_path: Path) -> None:
    for t, alpha in enumerate((numbers(person()), as_grey(person()))):
        alpha.save(tmp_path / f"{t}.png")
    assert read_mattes(tmp_path, [0], 40, 60).max() == 1


def test_a_grey_jpeg_with_colour_noise_is_its_brightness(tmp_path: Path) -> None:
    pixels = np.repeat(person()[..., None], 3, 2).astype(int) + np.random.default_rng(0).integers(-3, 4, (40, 60, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "x.png")
    assert np.abs(read_matte(tmp_path / "x.png")[0].numpy().astype(int) - person()).max() <= 3


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    as_grey(person()).save(tmp_path / "0.png")
    as_grey(person(50, 40)).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=r"1\.png: 40×50 pixels, .*0\.png has 60×40"):
        read_mattes(tmp_path, [1], 40, 60)


def test_videos_are_read_by_the_same_rule(tmp_path: Path) -> None:
    grey = torch.from_numpy(person()).expand(3, 3, -1, -1)
    write_video(tmp_path / "grey.mp4", grey, 25, crf=4)
    assert (read_mattes(tmp_path / "grey.mp4", [1], 40, 60)[0, 0].int() - grey[0, 0]).abs().float().mean() < 2
    write_video(tmp_path / "red.mp4", grey * torch.tensor([1, 0, 0], dtype=torch.uint8)[:, None, None], 25, crf=4)
    with pytest.raises(ValueError, match=r"red\.mp4: .*has colours"):
        read_mattes(tmp_path / "red.mp4", [1], 40, 60)


def test_a_video_with_an_alpha_channel_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = 40, 60, "argb"
        frame = av.VideoFrame.from_ndarray(np.dstack([person(), colours()]), format="argb")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"x\.mov: .*alpha channel; write it out: ffmpeg"):
        read_mattes(tmp_path / "x.mov", [0], 40, 60)


@pytest.mark.parametrize(
    ("alpha", "doubt"),
    [
        (person(), ""),
        (255 - person(), "inverted"),
        (0 * person(), "nobody"),
        (0 * person() + 255, "opaque everywhere"),
        (0 * person() + 120, ""),
        (np.where(person() % 255 > 0, 128, person()).astype(np.uint8), "trimap"),
        (np.maximum(person(), person().T.repeat(2, 0)[:40, :40].repeat(2, 1)[:, :60]), ""),
    ],
)
def test_mattes_that_look_wrong_are_told(alpha: np.ndarray, doubt: str) -> None:
    found = doubts(torch.from_numpy(alpha).expand(4, 1, -1, -1))
    assert doubt in found
    assert bool(found) == bool(doubt)
