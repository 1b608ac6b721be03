"""Pictures of the test clips in a report: input, truth, each arm's mattes, restored backgrounds."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from experiments.reporting.arms import Arm
from experiments.reporting.matrix import Matrix

MAX_PANELS, MAX_ARMS, MAX_ARMS_FIRST = 8, 8, 4
STRIPS = {
    "frame": "input",
    "alpha_true": "true alpha",
    "alpha_pred": "alpha",
    "background_true": "true background",
    "background_restored": "restored background",
    "coverage": "restored cells",
}
WIDTH, MARGIN, GAP, TITLE_GAP = 960, 12, 30, 42  # pixels of a panel; above a row is a gap for its name
GROUND = "#949494"  # grey, on which black and white mattes show alike and which suits light and dark pages
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
FIRST_ROWS, LAST_ROWS = ("frame", "alpha_true"), ("background_restored", "coverage")


def matte_panels(matrix: Matrix) -> dict[str, bytes]:
    """JPEGs of the test clips that every arm has, by clip: input, truth, each arm, restored backgrounds.

    Each arm shows its lowest seed. Clips are taken evenly from the sorted names, eight at most, and of many arms the
    first ones: more are no picture, and the viewer has all.
    """
    shared, arms = _shared_clips(matrix), matrix.arms[:MAX_ARMS]
    step = max(1, -(-len(shared) // MAX_PANELS))
    panels = {}
    for clip in shared[::step]:
        rows = [*_matte_rows(arms, clip), *_memory_rows(arms, clip)]
        if rows:
            panels[clip] = _panel(clip.replace("__", " · "), rows)
    return panels


def first_panel(matrix: Matrix) -> bytes | None:
    """JPEG with the mattes of the last clip alone, for the head of a page; None where no pictures are."""
    shared = _shared_clips(matrix)
    rows = _matte_rows(matrix.arms[:MAX_ARMS_FIRST], shared[-1]) if shared else []
    return _panel(shared[-1].replace("__", " · "), rows) if rows else None


def _shared_clips(matrix: Matrix) -> list[str]:
    clips = [
        {path.name.removesuffix("__alpha_pred.png") for path in folder.glob("*__alpha_pred.png")}
        for folder in _folders(matrix.arms)
    ]
    return sorted(set.intersection(*clips)) if clips else []


def _folders(arms: Sequence[Arm]) -> list[Path]:
    return [arm.cells[0].folder / "media" for arm in arms]


def _matte_rows(arms: Sequence[Arm], clip: str) -> list[tuple[str, Image.Image]]:
    folders = _folders(arms)
    rows = [_first(folders, clip, kind) for kind in FIRST_ROWS]
    rows += [_strip(folder, clip, "alpha_pred", arm.label) for arm, folder in zip(arms, folders, strict=True)]
    return [row for row in rows if row is not None]


def _memory_rows(arms: Sequence[Arm], clip: str) -> list[tuple[str, Image.Image]]:
    folders = _folders(arms)
    restored = [_strip(folder, clip, kind, arm.label) for arm, folder in zip(arms, folders, strict=True)
                for kind in LAST_ROWS]  # fmt: skip
    rows = [_first(folders, clip, "background_true"), *restored] if any(restored) else []
    return [row for row in rows if row is not None]


def _first(folders: Sequence[Path], clip: str, kind: str) -> tuple[str, Image.Image] | None:
    return next((row for row in (_strip(folder, clip, kind) for folder in folders) if row), None)


def _strip(folder: Path, clip: str, kind: str, arm: str = "") -> tuple[str, Image.Image] | None:
    """What is seen and its pixels; None if the file is not there or torn."""
    try:
        pixels = Image.open(folder / f"{clip}__{kind}.png").convert("RGB")
    except Exception:  # anything: Pillow tells of a broken PNG by a SyntaxError, of a bomb by an error of its own
        return None
    return f"{STRIPS[kind]}: {arm}" if arm else STRIPS[kind], pixels


def _panel(title: str, rows: Sequence[tuple[str, Image.Image]]) -> bytes:
    scale = WIDTH / max(strip.width for _, strip in rows)
    resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS  # enlarged pixels stay sharp
    heights = [round(scale * strip.height) for _, strip in rows]
    height = TITLE_GAP + sum(GAP + one for one in heights) + MARGIN
    picture = Image.new("RGB", (WIDTH + 2 * MARGIN, height), GROUND)
    draw, font, top = ImageDraw.Draw(picture), ImageFont.truetype(FONT, 18), TITLE_GAP
    large = ImageFont.truetype(FONT, 22)
    draw.text((MARGIN, top - 10), _one_line(title, large), "black", large, anchor="ls")
    for (name, strip), height in zip(rows, heights, strict=True):
        top += GAP
        draw.text((MARGIN, top - 8), _one_line(name, font), "black", font, anchor="ls")
        picture.paste(strip.resize((round(scale * strip.width), height), resample), (MARGIN, top))
        top += height
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _one_line(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The text on one line, its end left out where it is wider than the panel."""
    line = " ".join(text.split())
    if font.getlength(line) <= WIDTH:
        return line
    while font.getlength(line + "…") > WIDTH:
        line = line[:-1]
    return line.rstrip() + "…"
