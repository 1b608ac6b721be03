"""What is written of mattes: alpha, foreground, cut-out, composite, side by side; in which files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from datamodules.files.folders import IMAGE_SUFFIXES
from datamodules.files.pictures import read_image
from datamodules.footage import Footage
from datamodules.images import cover_size, crop_centre, estimate_foreground, resize
from lightning_modules.nets.interface import MattingOutput

# Each look in the kinds of file that can hold it; .png is a folder of one picture a frame, but for the one of compare.
FILES = {
    "alpha": (".mp4", ".png"),
    "foreground": (".mp4", ".png"),
    "cutout": (".mov", ".webm", ".png"),
    "composite": (".mp4", ".png"),
    "side_by_side": (".mp4",),
    "compare": (".png",),
}
WIDEST_BESIDE_OTHERS = 1280  # pixels, the longer side of a frame beside others: three of them still play everywhere


@dataclass(frozen=True)
class Target:
    """A file, or a folder of pictures, that is written.

    Attributes:
        look: a key of `FILES`.
        suffix: one of its kinds.
    """

    look: str
    suffix: str

    @property
    def name(self) -> str:
        """As a user asks for it: "alpha.mp4"."""
        return self.look + self.suffix

    @property
    def is_video(self) -> bool:
        """Whether it is one file of all frames."""
        return self.suffix != ".png"

    @property
    def place(self) -> str:
        """Its name in the output folder."""
        return self.name if self.is_video or self.look == "compare" else self.look


def parse_targets(names: object) -> tuple[Target, ...]:
    """What a user asks for.

    Raises:
        ValueError: it is no list of names, or one is unknown.
    >>> [target.place for target in parse_targets(["alpha.mp4", "cutout.png"])]
    ['alpha.mp4', 'cutout']
    """
    known = {f"{look}{suffix}": Target(look, suffix) for look, suffixes in FILES.items() for suffix in suffixes}
    if not isinstance(names, list) or not names:
        raise ValueError(f"write must be a list, as in write=[alpha.mp4,composite.mp4], got {names!r}")
    if unknown := [str(name) for name in names if name not in known]:
        raise ValueError(f"write: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(dict.fromkeys(known[name] for name in names))


class Backdrop:
    """What a person is composited over: a colour, a picture, or a video that begins again at its end."""

    def __init__(self, named: str, size: tuple[int, int]) -> None:
        """Open it for frames of (height, width); pictures are scaled to cover them and cut to their middle.

        Raises:
            ValueError: it is neither a colour nor a file that can be read.
        """
        self.size, self.film = size, None
        self.path: Path | None = Path(named)
        if not self.path.exists():
            self.path = None
            self.still = _colour(named)[:, None, None].expand(3, *size)
        elif self.path.suffix.lower() in IMAGE_SUFFIXES and not self.path.is_dir():
            self.still = self._fitted(read_image(self.path))
        else:
            self.film = Footage.open(self.path, 30)
            first, step = self.film.times[0], round(1 / self.film.rate / self.film.time_base)
            self.seconds = [float((time - first) * self.film.time_base) for time in self.film.times]
            self.length = self.seconds[-1] + float(step * self.film.time_base)
            self.number, self.frames = -1, self.film.read()

    def at(self, seconds: Iterable[float]) -> Tensor:
        """What is seen at some times, rising: (T, 3, H, W) uint8."""
        return torch.stack([self._at(each) for each in seconds])

    def _at(self, seconds: float) -> Tensor:
        if self.film is None:
            return self.still
        wanted = max(bisect_right(self.seconds, seconds % self.length) - 1, 0)
        if wanted < self.number or self.number < 0:
            self.number, self.frames = wanted - 1, self.film.read(wanted)
        while self.number < wanted:
            self.number, (_, picture) = self.number + 1, next(self.frames)
            if self.number == wanted:
                self.still = self._fitted(picture)
        return self.still

    def _fitted(self, picture: Tensor) -> Tensor:
        cover = cover_size((picture.shape[-2], picture.shape[-1]), self.size)
        return crop_centre(resize(picture[None], cover), self.size)[0]


class Painter:
    """Makes the pictures that are written, 8 bits a channel, of frames and their mattes."""

    def __init__(self, targets: Sequence[Target], backdrop: Backdrop | None) -> None:
        """For all targets; `backdrop` is needed for composites alone."""
        self.looks = {target.look for target in targets}
        self.backdrop = backdrop

    def paint(self, frames: Tensor, output: MattingOutput, seconds: Sequence[float]) -> dict[str, Tensor]:
        """Pictures (T, C, h, w) uint8 on the CPU by look: grey alpha, RGB, or RGBA cut-outs.

        Where a net gives no foreground it is estimated by blur fusion; where alpha is 0 it is black, so that nothing
        of the old background is left in a file.

        Args:
            frames: (T, 3, H, W) uint8.
            output: of a net, for these frames as a batch of one.
            seconds: when each is shown, for backdrops that move.
        """
        alpha = _bytes(output.alpha[0])
        looks = {"alpha": alpha.cpu()}
        if self.looks == {"alpha"}:
            return looks
        frames = frames.to(alpha.device)
        if output.foreground is not None:
            foreground = _bytes(output.foreground[0])
        else:
            foreground = estimate_foreground(frames.cpu(), looks["alpha"]).to(alpha.device)
        foreground.mul_(alpha > 0)
        looks["foreground"] = foreground.cpu()
        if "cutout" in self.looks:
            looks["cutout"] = torch.cat([foreground, alpha], dim=1).cpu()
        if self.backdrop is not None:
            behind = self.backdrop.at(seconds).to(alpha.device)
            composite = torch.lerp(behind.float(), foreground.float(), alpha.float() / 255).round_().byte()
            looks["composite"] = composite.cpu()
            if self.looks & {"side_by_side", "compare"}:
                looks["side_by_side"] = looks["compare"] = _beside(frames, alpha, composite).cpu()
        return {look: looks[look] for look in self.looks}


def _beside(*pictures: Tensor) -> Tensor:
    """Pictures (T, 1 or 3, H, W) uint8 in one row, reduced where they are wide."""
    ratio = WIDEST_BESIDE_OTHERS / max(pictures[0].shape[-2:])
    row = torch.cat([picture.expand(-1, 3, -1, -1) for picture in pictures], dim=3)
    return row if ratio >= 1 else _bytes(F.interpolate(row.float() / 255, scale_factor=ratio, mode="area"))


def _bytes(pictures: Tensor) -> Tensor:
    """Pictures (T, C, H, W) in [0, 1] → uint8, where they are; on the CPU in one pass."""
    if pictures.device.type != "cpu":
        return (pictures * 255).round_().byte()
    import cv2

    rows = cv2.convertScaleAbs(pictures.flatten(0, -2).contiguous().numpy(), alpha=255)
    return torch.from_numpy(rows).view(pictures.shape)


def _colour(named: str) -> Tensor:
    try:
        return torch.tensor(ImageColor.getrgb(named)[:3], dtype=torch.uint8)
    except ValueError:
        kinds = "a colour (#rrggbb, white, …), a picture, a video or a folder of frames"
        raise ValueError(f"over={named}: no such file, and not {kinds}; check the path") from None
