"""Pictures are what Pillow shows, or one line."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from datamodules.files.pictures import channels_first, picture_size, read_image, read_pixels

FORMATS = ["jpg", "png", "webp", "tif", "bmp"]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def smooth(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 6 * y, 2 * x + 3 * y], axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_colours_and_alpha_of_every_format(tmp_path: Path, suffix: str, orientation: int, mode: str) -> None:
    if (suffix, mode) == ("jpg", "RGBA"):
        mode = "L"
    file = tmp_path / f"x.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = noise(6, 10, 4)
    pixels[..., 3] |= 1  # WebP forgets the colours of what is quite transparent
    Image.fromarray(pixels).convert(mode).save(file, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    truth = file.with_name("truth.png")  # Pillow maps turned RGBA TIFFs wrongly
    Image.fromarray(pixels).convert(mode).save(truth, exif=exif)
    with Image.open(file if suffix == "jpg" else truth) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGBA" if mode == "RGBA" else "RGB"))
    found = read_image(file, with_alpha=mode == "RGBA").permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found, expected)
    assert picture_size(file) == expected.shape[:2] == ((10, 6) if orientation > 4 else (6, 10))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kept", [0.5, 0.95, 0.0])
def test_part_of_a_picture_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    file = tmp_path / f"half.{suffix}"
    Image.fromarray(noise(80, 90, 3)).save(file)
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(ValueError, match=rf"cannot read .*half\.{suffix}: .*; replace or remove the file") as error:
        read_image(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("jpg", {}), ("jpg", {"progressive": True}), ("png", {})],
)
def test_half_a_picture_padded_with_zeros_is_refused(tmp_path: Path, suffix: str, options: dict[str, bool]) -> None:
    file = tmp_path / f"padded.{suffix}"
    Image.fromarray(noise(80, 90, 3)).save(file, **options)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    with pytest.raises(ValueError, match=r"padded\."):
        read_image(file)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path, suffix: str) -> None:
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / f"x.{suffix}")
    assert (read_pixels(tmp_path / f"x.{suffix}")[0].numpy() == np.arange(256).reshape(16, 16)).all()


@pytest.mark.parametrize("orientation", [1, 6])
def test_twelve_bits_are_refused_turned_or_not(tmp_path: Path, orientation: int) -> None:
    width, height, pixels = 4, 2, bytes([0x80, 0x08, 0x00] * 4)  # two pixels of mid-grey in three bytes
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 274: orientation, 277: 1, 278: height, 279: 12}
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(pixels))
    (tmp_path / "x.tif").write_bytes(head + pixels + struct.pack("<H", len(tags)) + entries + bytes(4))
    with pytest.raises(ValueError, match=r"x\.tif: it has 12 bits"):
        read_pixels(tmp_path / "x.tif")


def test_sixteen_bit_colours_are_read_as_eight(tmp_path: Path) -> None:
    import cv2

    pixels = noise(9, 8, 4)
    assert cv2.imwrite(str(tmp_path / "x.png"), pixels.astype(np.uint16)[..., [2, 1, 0, 3]] * 257)
    assert (read_image(tmp_path / "x.png", with_alpha=True).permute(1, 2, 0).numpy() == pixels).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_every_kind_of_pixels_is_what_pillow_shows(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image = Image.fromarray(smooth()).convert(mode)
    image.save(file)
    assert (read_image(file).permute(1, 2, 0).numpy() == np.array(image.convert("RGB"))).all()


def test_transparency_of_a_palette_is_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(smooth()).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    image.save(tmp_path / "x.png", transparency=bytes(range(0, 160, 10)))
    with Image.open(tmp_path / "x.png") as saved:
        expected = np.array(saved.convert("RGBA"))
    assert (read_image(tmp_path / "x.png", with_alpha=True).permute(1, 2, 0).numpy() == expected).all()


@pytest.mark.parametrize(("name", "kind"), [("lies.jpg", "PNG"), ("UPPER.PNG", "PNG"), ("lies.png", "JPEG")])
def test_what_is_in_a_file_counts_not_its_ending(tmp_path: Path, name: str, kind: str) -> None:
    Image.fromarray(smooth()).save(tmp_path / name, format=kind)
    assert (read_image(tmp_path / name).permute(1, 2, 0).numpy().astype(int) - smooth()).__abs__().mean() < 4


@pytest.mark.parametrize(("suffix", "kind"), [("webp", "WEBP"), ("tif", "TIFF"), ("png", "PNG"), ("png", "GIF")])
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, suffix: str, kind: str) -> None:
    frames = [Image.fromarray(noise(8, 8, 3)), Image.fromarray(255 - noise(8, 8, 3))]
    frames[0].save(tmp_path / f"x.{suffix}", format=kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=rf"x\.{suffix}: it holds 2 pictures, one is wanted"):
        read_image(tmp_path / f"x.{suffix}")


def test_numbers_that_are_no_colours_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"x\.tif: its pixels are of kind F"):
        read_image(tmp_path / "x.tif")


def test_a_picture_that_claims_a_huge_size_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.bmp"
    Image.fromarray(noise(4, 4, 3)).save(file)
    data = bytearray(file.read_bytes())
    data[18:26] = (60000).to_bytes(4, "little") * 2
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.bmp"):
        read_image(file)


def test_a_cut_out_that_hides_nothing_is_refused(tmp_path: Path) -> None:
    Image.fromarray(smooth()).convert("RGBA").save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png: its alpha channel is opaque everywhere"):
        read_image(tmp_path / "x.png", with_alpha=True)


@pytest.mark.parametrize("shape", [(5, 7, 1), (5, 7, 2), (5, 7, 3), (3, 6, 4, 4), (2, 2, 3, 8, 3)])
def test_channels_come_first_in_memory_too(shape: tuple[int, ...]) -> None:
    pictures = noise(*shape)
    pictures.flags.writeable = False  # as Pillow gives them
    found = channels_first(pictures)
    assert np.array_equal(found.numpy(), np.moveaxis(pictures, -1, -3))
    assert found.is_contiguous()
