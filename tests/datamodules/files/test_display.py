from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import datamodules.video
from datamodules.video import probe, read_frames

# Of a matrix: the shares of red and blue in luma (ITU-T H.273).
LUMA = {1: (0.2126, 0.0722), 2: (0.299, 0.114), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
SKIN = (180, 120, 90)


def to_yuv(rgb: tuple[int, int, int], matrix: int, full: bool) -> list[int]:
    red, blue = LUMA[matrix]
    r, g, b = (value / 255 for value in rgb)
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / 2 / (1 - blue), (r - y) / 2 / (1 - red)
    luma, chroma, black = (255, 255, 0) if full else (219, 224, 16)
    return [round(black + luma * y), round(128 + chroma * u), round(128 + chroma * v)]


def write(
    path: Path, rgb: tuple[int, int, int] = SKIN, codec: str = "libx264", matrix: int = 2, colour_range: int = 0,
    transfer: int = 2, aspect: str = "", turn: tuple[int, int, int, int] | None = None,
) -> Path:  # fmt: skip
    """Three frames (32, 48) of one colour, tagged by the numbers of ITU-T H.273."""
    y, u, v = to_yuv(rgb, matrix, colour_range == 2)
    planes = np.concatenate([np.full((32, 48), y), np.full((8, 48), u), np.full((8, 48), v)]).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "1"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, colour_range
        stream.codec_context.color_trc = transfer
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(*map(int, aspect.split(":")))
        if turn:
            a, b, c, d = turn
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.colorspace, frame.color_range, frame.color_trc = matrix, colour_range, transfer
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(params=["decord", "pyav"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pyav":
        monkeypatch.setattr(datamodules.video, "_import_decord", lambda: None)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("rgb", [SKIN, (230, 20, 20), (20, 230, 20), (20, 20, 230), (255, 255, 255)])
@pytest.mark.parametrize(("matrix", "colour_range"), [(1, 1), (1, 2), (2, 0), (2, 2), (5, 1), (6, 1), (9, 1)])
def test_matrix_and_range_are_those_of_the_tags(
    tmp_path: Path, rgb: tuple[int, int, int], matrix: int, colour_range: int
) -> None:
    path = write(tmp_path / "x.mp4", rgb, matrix=matrix, colour_range=colour_range)
    assert probe(path).plain
    seen = read_frames(path, [1]).float().mean((0, 2, 3))
    assert (seen - torch.tensor(rgb)).abs().max() <= 4


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_colours_of_high_dynamic_range_are_refused_with_the_way_out(
    tmp_path: Path, transfer: int, name: str, container: str
) -> None:
    path = write(tmp_path / f"x.{container}", matrix=9, transfer=transfer)
    with pytest.raises(
        ValueError, match=rf"^cannot decode .*x.{container}: its colours are {name}.*ffmpeg -i"
    ) as error:
        read_frames(path, [0])
    assert "\n" not in str(error.value)


def test_colours_of_a_wide_gamut_in_standard_range_are_read(tmp_path: Path) -> None:
    seen = read_frames(write(tmp_path / "x.mp4", matrix=9, transfer=14), [0]).float().mean((0, 2, 3))
    assert (seen - torch.tensor(SKIN)).abs().max() <= 4


def test_an_angle_that_is_no_quarter_turn_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", turn=(56756, 32768, -32768, 56756))
    with pytest.raises(ValueError, match=r"x.mp4: its display matrix .* is no quarter turn; write it turned: ffmpeg"):
        probe(path)


@pytest.mark.parametrize(("aspect", "turn", "size"), [
    ("4:3", None, (32, 64)), ("2:3", None, (32, 32)), ("4:3", (0, 65536, -65536, 0), (64, 32)),
    ("1215:1216", None, (32, 48)), ("", (0, 65536, -65536, 0), (48, 32)),
])  # fmt: skip
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_probe_tells_the_shown_size(
    tmp_path: Path, aspect: str, turn: tuple[int, int, int, int] | None, size: tuple[int, int], container: str
) -> None:
    path = write(tmp_path / f"x.{container}", aspect=aspect, turn=turn)
    info = probe(path)
    assert (info.height, info.width) == size
    assert read_frames(path, [2]).shape == (1, 3, *size)
    assert read_frames(path, [2], 20, 10).shape == (1, 3, 20, 10)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "container"),
    [("libvpx", "yuva420p", "webm"), ("libvpx-vp9", "yuva420p", "webm"), ("prores_ks", "yuva444p10le", "mov"),
     ("qtrle", "argb", "mov"), ("png", "rgba", "mov"), ("ffv1", "yuva420p", "mkv")],
)  # fmt: skip
def test_colours_under_an_alpha_channel_stay_as_they_are(
    tmp_path: Path, codec: str, pix_fmt: str, container: str
) -> None:
    pixels = np.full((32, 48, 4), (*SKIN, 128), np.uint8)
    options = {"prores_ks": {"profile": "4"}, "libvpx": {"auto-alt-ref": "0"}, "libvpx-vp9": {"auto-alt-ref": "0"}}
    with av.open(str(tmp_path / f"x.{container}"), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = 48, 32, pix_fmt
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        output.mux(stream.encode())
    seen = read_frames(tmp_path / f"x.{container}", [1]).float().mean((0, 2, 3))
    assert (seen - torch.tensor(SKIN)).abs().max() <= 4


@pytest.fixture
def mux(tmp_path: Path) -> Callable[..., Path]:
    def put_together(name: str, sources: list[Path], dispositions: list[av.stream.Disposition]) -> Path:
        with av.open(str(tmp_path / name), "w") as output:
            inputs = [av.open(str(source)) for source in sources]
            streams = [output.add_stream_from_template(each.streams[0]) for each in inputs]
            for stream, disposition in zip(streams, dispositions, strict=True):
                stream.disposition = disposition
            for each, stream in zip(inputs, streams, strict=True):
                for packet in each.demux(each.streams[0]):
                    if packet.size:
                        packet.stream = stream
                        output.mux(packet)
                each.close()
        return tmp_path / name

    return put_together


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_a_cover_picture_is_not_the_video(
    tmp_path: Path, mux: Callable[..., Path], images: Callable[[Path, np.ndarray], None], container: str
) -> None:
    images(tmp_path / "cover.jpg", np.zeros((16, 16, 3), np.uint8))
    kinds = [av.stream.Disposition.attached_pic, av.stream.Disposition.default]
    path = mux(f"x.{container}", [tmp_path / "cover.jpg", write(tmp_path / "film.mp4")], kinds)
    info = probe(path)
    assert (info.num_frames, info.height, info.width, info.plain) == (3, 32, 48, False)
    assert (read_frames(path, [2]).float().mean((0, 2, 3)) - torch.tensor(SKIN)).abs().max() <= 4


def test_of_several_streams_the_default_one_is_read(tmp_path: Path, mux: Callable[..., Path]) -> None:
    red, blue = write(tmp_path / "red.mp4", (200, 0, 0)), write(tmp_path / "blue.mp4", (0, 0, 200))
    for first, kinds in (("red", [1, 0]), ("blue", [0, 1])):
        path = mux(f"{first}.mkv", [red, blue], [av.stream.Disposition(kind) for kind in kinds])
        assert not probe(path).plain
        assert read_frames(path, [1])[0, :, 0, 0].argmax() == ("red", "", "blue").index(first)
