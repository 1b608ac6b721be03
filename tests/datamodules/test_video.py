import builtins
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

import datamodules.video
from datamodules.video import count_frames, is_video, probe, read_frames, write_video


def clip(frames: int = 12, height: int = 48, width: int = 64) -> Tensor:
    """Smooth frames whose brightness tells their number."""
    ramp = torch.linspace(0, 60, width).expand(3, height, width)
    return torch.stack([ramp + 10 + 14 * t for t in range(frames)]).to(torch.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mp4", clip(), fps=25, crf=4)
    return tmp_path / "clip.mp4"


def encode(path: Path, codec: str, frames: Tensor) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = frames.shape[2], frames.shape[3], "yuv420p"
        for frame in frames.permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def without_decord(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *args: object, **kwargs: object) -> object:
        if name == "decord":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_probe_tells_what_was_written(path: Path) -> None:
    info = probe(path)
    assert (info.num_frames, info.height, info.width, info.fps, info.codec) == (12, 48, 64, 25.0, "h264")
    assert count_frames(path) == 12
    assert is_video(path)
    assert [each.name for each in path.parent.iterdir()] == ["clip.mp4"]  # no unfinished file stays


def test_frames_come_in_the_order_asked(path: Path) -> None:
    frames = read_frames(path, [7, 2, 2, 11])
    assert frames.dtype == torch.uint8
    assert (frames.float() - clip()[[7, 2, 2, 11]]).abs().mean() < 2


@pytest.mark.parametrize("size", [(None, None), (24, 32)])
def test_pyav_reads_like_decord(
    path: Path, size: tuple[int | None, int | None], request: pytest.FixtureRequest
) -> None:
    by_decord = read_frames(path, [0, 5, 11], *size)
    request.getfixturevalue("without_decord")
    by_pyav = read_frames(path, [0, 5, 11], *size)
    assert by_decord.shape == by_pyav.shape
    assert (by_decord.float() - by_pyav.float()).abs().mean() < 1


@pytest.mark.usefixtures("without_decord")
def test_pyav_finds_each_frame_alone(path: Path) -> None:
    for index in range(12):
        assert (read_frames(path, [index]).float() - clip()[index]).abs().mean() < 2


def test_codec_that_decord_reads_badly_goes_to_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode(tmp_path / "clip.webm", "libvpx-vp9", clip())
    monkeypatch.setattr(datamodules.video, "_decode_by_decord", lambda *_: pytest.fail("decord was asked"))
    assert (read_frames(tmp_path / "clip.webm", [9]).float() - clip()[9]).abs().mean() < 4


def test_folder_of_frames_is_a_video(tmp_path: Path, images: Callable[[Path, np.ndarray], None]) -> None:
    for t, frame in enumerate(clip(4).permute(0, 2, 3, 1).numpy()):
        images(tmp_path / "clip" / f"{t:05d}.png", frame)
    assert is_video(tmp_path / "clip")
    assert count_frames(tmp_path / "clip") == 4
    assert torch.equal(read_frames(tmp_path / "clip", [3, 0]), clip(4)[[3, 0]])
    assert read_frames(tmp_path / "clip", [1], 24, 32).shape == (1, 3, 24, 32)


def test_the_same_frames_give_the_same_bytes_wherever_they_lie_in_memory(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    scene = torch.nn.functional.interpolate(torch.rand(1, 3, 5, 5, generator=generator), (64, 64), mode="bicubic")[0]
    frames = []
    for t in range(4):
        mask = (((x - 30 - 2 * t) / 14) ** 2 + ((y - 40) / 26) ** 2 < 1).float().expand(3, -1, -1)
        noisy = 0.5 * mask + (1 - mask) * scene + 0.03 * torch.randn(3, 64, 64, generator=generator)
        frames.append(torch.cat([noisy, mask, 0.8 * mask + 0.2 * torch.rand(3, 64, 64, generator=generator)], dim=2))
    written = set()
    for length in range(1, 60):
        between = [torch.zeros(length * place) for place in range(20)]
        del between[::2]
        write_video(tmp_path / "x.mp4", torch.stack(frames).clamp(0, 1), 12, crf=23)
        written.add((tmp_path / "x.mp4").read_bytes())
    assert len(written) == 1


def test_odd_size_and_float_frames_can_be_written(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", clip(3, 33, 51).float() / 255, fps=29.97, crf=4)
    info = probe(tmp_path / "odd.mp4")
    assert (info.height, info.width) == (34, 52)
    assert info.fps == pytest.approx(29.97, abs=1e-3)
    back = read_frames(tmp_path / "odd.mp4", [2])[0, :, :33, :51]
    assert (back.float() - clip(3, 33, 51)[2]).abs().mean() < 2


def test_missing_broken_and_short_videos_are_named_in_one_line(tmp_path: Path, path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "empty").mkdir()
    for name, reason in {
        "gone.mp4": "no such file", "broken.mp4": "replace", "cut.mp4": "replace", "empty": "without pictures",
        "clip.mp4": "0 to 11",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match="cannot decode") as error:
            read_frames(tmp_path / name, [0, 12])
        assert str(tmp_path / name) in str(error.value)
        assert reason in str(error.value)
        assert "\n" not in str(error.value)


def test_frames_of_a_wrong_shape_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(T, 3, H, W\)"):
        write_video(tmp_path / "x.mp4", torch.zeros(3, 8, 8), 25)


PICTURES_AFTER_A_VIDEO = """
import sys
import torch
from pathlib import Path
from datamodules.video import read_frames
read_frames(sys.argv[1], [0])
from datamodules.images import read_image
print("decord" in sys.modules, tuple(read_image(Path(sys.argv[2])).shape))
"""


@pytest.mark.slow
def test_pictures_are_read_after_a_video_was(
    tmp_path: Path, path: Path, images: Callable[[Path, np.ndarray], None]
) -> None:
    images(tmp_path / "x.png", np.zeros((8, 9, 3), np.uint8))
    words = [sys.executable, "-c", PICTURES_AFTER_A_VIDEO, str(path), str(tmp_path / "x.png")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "True (3, 8, 9)"


def test_decord_is_imported_in_one_place() -> None:
    folder = Path(datamodules.video.__file__).parents[1]
    files = [
        file for name in ("datamodules", "experiments", "lightning_modules") for file in (folder / name).rglob("*.py")
    ]
    assert [file.name for file in files if "import decord" in file.read_text(encoding="utf-8")] == ["video.py"]
