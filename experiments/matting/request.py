"""What `experiments.matte` is asked for: all settings checked, all files opened."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from datamodules.files.fingerprint import fingerprint
from datamodules.files.folders import IMAGE_SUFFIXES
from datamodules.files.pictures import read_image
from datamodules.footage import open_footage
from datamodules.images import resize
from datamodules.video import stream_frames
from experiments.command.composing import CONFIGS, given_settings, refuse_missing_settings
from experiments.command.quoting import quoted
from experiments.inference.saved_nets import named_by_file
from experiments.inference.streamed_nets import StreamedNet
from experiments.inference.streaming import Streaming
from experiments.matting.job import Job
from experiments.matting.looks import Backdrop, Painter, parse_targets
from experiments.scoring.request import device_of, net_of
from lightning_modules.nets.interface import MattingNet
from lightning_modules.nets.pretrained import published_file

SAME_SHAPE = 0.01  # by which a plate's aspect may differ from the frames'


def job_of(words: Sequence[str]) -> Job:
    """The job of a command line.

    Args:
        words: settings as of `experiments.matte`.

    Raises:
        ValueError: one is missing or unknown; see `make_job`.
    """
    from hydra import compose, initialize_config_dir

    words = [quoted(word) for word in words]
    given = given_settings(words)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("matte", overrides=[*words, *named_by_file(given)])
    refuse_missing_settings(composed)
    plain: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    return make_job(plain, list(given))


def make_job(plain: dict[str, Any], given: Sequence[str]) -> Job:
    """The job of a config.

    Args:
        plain: a composed config of this command.
        given: names of the settings that the command line gives.

    Raises:
        ValueError: a setting has an unknown value, a file is missing or cannot be read, or two settings contradict
            each other.
    """
    _check(plain)
    targets = parse_targets(plain["write"])
    if plain["threads"] is not None:
        torch.set_num_threads(plain["threads"])
    device = device_of(plain["device"])
    streaming = Streaming.among(plain)
    how = Streaming.of(streaming)
    footage = open_footage(str(plain["input"]), plain["fps"])
    backdrop = None
    if any(target.look in ("composite", "side_by_side", "compare") for target in targets):
        backdrop = Backdrop(str(plain["over"]), footage.size)
    plate = None if plain["background"] is None else read_plate(Path(plain["background"]), footage.size)
    if plain["weights"] is not None:
        plain["checkpoint"] = str(published_file(plain["weights"]))
    file = plain["checkpoint"] if plain["onnx"] is None else plain["onnx"]
    if file is None:
        raise ValueError(
            "which net? give weights=NAME, checkpoint=FILE (ours, or an official one with model=NAME) or onnx=FILE"
        )
    net, model = net_of({"seed": 0, **plain}, given, how)
    net = StreamedNet(net.to(device))
    check_needs(net, model["name"], plate is not None)
    settings = {
        "input": str(plain["input"]) if footage.path is None else fingerprint({"input": footage.path}).digest,
        "checkpoint": hashlib.sha256(Path(file).read_bytes()).hexdigest(),
        "model": model,
        **streaming,
        **{name: plain[name] for name in ("write", "crf", "fps", "sound")},
        "over": fingerprint({"over": backdrop.path}).digest if backdrop and backdrop.path else plain["over"],
        "background": None if plate is None else fingerprint({"plate": Path(plain["background"])}).digest,
    }
    folder, painter = Path(plain["output"]), Painter(targets, backdrop)
    moved = None if plate is None else plate.to(device)
    return Job(folder, footage, net, how, moved, targets, painter, plain["crf"], plain["sound"], settings)


def read_plate(path: Path, size: tuple[int, int]) -> Tensor:
    """A picture, or the first frame of a video, of the place without the person: (1, 1, 3, H, W) in [0, 1].

    Args:
        path: of it.
        size: (height, width) of the frames, to which it is scaled.

    Raises:
        ValueError: it is missing or cannot be read, or has another shape than the frames.
    """
    is_picture = path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
    plate = read_image(path) if is_picture else next(stream_frames(path))
    height, width = plate.shape[-2:]
    if abs(width * size[0] / (height * size[1]) - 1) > SAME_SHAPE:
        raise ValueError(
            f"background={path}: {width}×{height} pixels, the frames are {size[1]}×{size[0]}; it must be the same "
            "view, taken without the person"
        )
    return resize(plate[None], size)[None].float() / 255


def check_needs(net: MattingNet, name: str, has_plate: bool) -> None:
    """Check that a net gets what it needs beside frames.

    Raises:
        ValueError: it needs a plate and is given none, or the reverse; or it needs the true flow.
    """
    if net.needs_flow:
        raise ValueError(
            f"this {name} needs the true flow, which no video has: take a net that estimates flow or does without"
        )
    if net.needs_alpha:
        raise ValueError(f"this {name} is told the true alpha (brm_mask=truth): it is a diagnosis, and mattes no video")
    if net.needs_plate and not has_plate:
        raise ValueError(
            f"{name} needs a picture of the place without the person, from the same camera: background=FILE (a "
            "picture, or a video whose first frame is taken)"
        )
    if has_plate and not net.needs_plate:
        raise ValueError(f"{name} makes no use of a background: leave background= out (over= is what comes behind)")


def _check(plain: dict[str, Any]) -> None:
    for name in ("again", "sound"):
        if not isinstance(plain[name], bool):
            raise ValueError(f"{name} must be true or false, got {plain[name]!r}")
    if plain["threads"] is not None and (not isinstance(plain["threads"], int) or plain["threads"] < 1):
        raise ValueError(f"threads must be a number from 1 on, or null, got {plain['threads']!r}")
    if not isinstance(plain["crf"], int) or not 0 <= plain["crf"] <= 51:
        raise ValueError(f"crf must be a whole number from 0 (lossless) to 51, got {plain['crf']!r}")
    if not isinstance(plain["fps"], int | float) or not 0 < plain["fps"] <= 1000:
        raise ValueError(f"fps must be a number above 0, got {plain['fps']!r}")
