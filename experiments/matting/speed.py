"""Decoding, matting and encoding together, as `experiments.matte` does it, beside the net and the codec alone."""

from __future__ import annotations

import io
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from datamodules.footage import Footage, Loop
from experiments.benchmarks.output import Columns
from experiments.benchmarks.timing import load_average, synchronise
from experiments.command.progress import ClipProgress
from experiments.inference.streaming import run_frames
from experiments.matting.job import Job
from experiments.matting.pipeline import chunk_length, chunks_of
from lightning_modules.nets.interface import MattingNet, MattingOutput

COLUMNS: Columns = {
    "what": ("", ""),
    "frames": ("frames", ".0f"),
    "fps": ("frames/s", ".2f"),
    "p50_ms": ("p50 ms", ".1f"),
    "p99_ms": ("p99 ms", ".1f"),
    "cpu_ms": ("CPU ms a frame", ".0f"),
    "load": ("load", ".1f"),
}
MEMORY_COLUMNS: Columns = {
    "minute": ("minute", ".0f"),
    "frames": ("frames", ".0f"),
    "rss_mb": ("memory, MB", ".0f"),
}
LEGEND = (
    "Net: frames that are decoded already, its state carried. Codec: the same command with mattes that are known "
    "already: decoding, drawing and encoding. All: the command itself. p50 and p99: of the time from one frame to the "
    "next, where several are matted at once their mean. CPU: of all threads. Frames/s are over whole runs, with "
    "opening and joining of files."
)
GOAL = 0.85  # of the slower of net and codec
ROUNDS = 3
# The loop has as many frames as hold about this many pixels: their mattes are in memory.
PIXELS_OF_LOOP = 16 * 1920 * 1080


class Watch(ClipProgress):
    """A bar that notes when frames are written, and how much memory the process has then.

    Attributes:
        notes: seconds since the beginning, frames written at once, resident megabytes.
    """

    def __init__(self, shown: bool = False) -> None:
        """Print nothing unless `shown`."""
        super().__init__(1, None, "videos", shown)
        self.notes: list[tuple[float, int, float]] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begin

    def add_frames(self, count: int) -> None:
        """So many frames more are written."""
        super().add_frames(count)
        self.notes.append((self.elapsed, count, resident_mb()))

    def told(self) -> dict[str, float]:
        """Frames, and milliseconds from one to the next."""
        seconds, counts, _ = map(np.array, zip(*self.notes, strict=True))
        between = np.repeat(1e3 * np.diff(seconds, prepend=0) / counts, counts)
        return {"frames": self.frames, **{f"p{share}_ms": float(np.percentile(between, share)) for share in (50, 99)}}

    def minutes(self) -> pd.DataFrame:
        """A row a minute: its number from 1 on, frames, and the most memory in it."""
        table = pd.DataFrame(self.notes, columns=["seconds", "frames", "rss_mb"])
        minute = (table["seconds"] // 60).astype(int) + 1
        return table.groupby(minute.rename("minute")).agg({"frames": "sum", "rss_mb": "max"}).reset_index()


class KnownMattes(MattingNet):
    """Stands where a net stands and gives mattes that are known: those of the chunks of a loop, in turn."""

    def __init__(self, alphas: Sequence[Tensor], with_foreground: bool) -> None:
        """Take the mattes (1, T, 1, H, W) of each chunk; the foreground, if there is one, is the frame."""
        super().__init__()
        self.alphas, self.with_foreground, self.calls = alphas, with_foreground, 0
        self.register_buffer("place", alphas[0].new_empty(0))

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        """The next chunk's mattes."""
        alpha = self.alphas[self.calls % len(self.alphas)][:, : frames.shape[1]]
        self.calls += 1
        return MattingOutput(alpha, frames if self.with_foreground else None)

    def at_ratio(self, ratio: float, frames: Tensor, upsampler: str, **given: Any) -> MattingOutput:
        """The same at any ratio."""
        return self(frames)


class Trial:
    """A job on a loop of its footage: the net alone, the codec alone, and all together."""

    def __init__(self, job: Job) -> None:
        """Decode and matte the loop once, which also warms the net up.

        Raises:
            ValueError: the job is on no film, or see `Footage.read`.
        """
        film = job.footage
        if not isinstance(film, Footage):
            raise ValueError("a film is needed that can be shown again: input=FILE or a folder, no webcam")
        count = min(film.num_frames, max(1, PIXELS_OF_LOOP // (film.size[0] * film.size[1])))
        length = min(chunk_length(job.how, film.size), count)
        self.film, self.count = film, count // length * length
        self.job = replace(job, how=replace(job.how, chunk=length))
        with closing(chunks_of(Loop(film, self.count, math.inf), 0, length)) as chunks:
            self.chunks = [frames for _, frames in islice(chunks, self.count // length)]
        self.state: Any = None
        mattes = [self._matte(frames) for frames in self.chunks]
        self.mattes = KnownMattes([each.alpha for each in mattes], mattes[0].foreground is not None)

    def _matte(self, frames: Tensor) -> MattingOutput:
        """The net's next chunk, as `matted` gives it to it."""
        job = self.job
        given = frames.to(job.net.device)[None].float() / 255
        output = run_frames(job.net, given, self.state, job.plate, job.how)
        self.state = output.state
        synchronise(job.net.device)
        return output

    def net_alone(self, seconds: float) -> Watch:
        """Mattes of frames that are decoded already."""
        watch = Watch()
        while watch.elapsed < seconds:
            for frames in self.chunks:
                self._matte(frames)
                watch.add_frames(len(frames))
                if watch.elapsed >= seconds:
                    break
        return watch

    def codec_alone(self, seconds: float) -> Watch:
        """The job with mattes that are known."""
        self.mattes.calls = 0
        return self._run(replace(self.job, net=self.mattes), seconds, Watch())

    def together(self, seconds: float, shown: bool = False) -> Watch:
        """The job itself."""
        return self._run(self.job, seconds, Watch(shown))

    def _run(self, job: Job, seconds: float, watch: Watch) -> Watch:
        told = sys.stdout if watch.shown else io.StringIO()
        with TemporaryDirectory() as folder, redirect_stdout(told):
            loop = Loop(self.film, self.count, seconds)
            replace(job, footage=loop, folder=Path(folder) / "out").run(bar=watch)
        return watch


def benchmark_video(job: Job, seconds: float, progress: Callable[[str], None]) -> Iterator[pd.DataFrame]:
    """A table a round: net, codec and all in turns, for so many seconds each."""
    trial = Trial(job)
    for number in range(ROUNDS):
        rows = []
        for what, run in (("net", trial.net_alone), ("codec", trial.codec_alone), ("all", trial.together)):
            progress(f"round {number + 1}: {what}")
            cpu, begin = time.process_time(), time.monotonic()
            watch = run(seconds)
            rows.append({"round": number, "what": what, **watch.told(), "load": load_average()})
            rows[-1] |= {"fps": watch.frames / (time.monotonic() - begin)}
            rows[-1] |= {"cpu_ms": 1e3 * (time.process_time() - cpu) / watch.frames}
        yield pd.DataFrame(rows)


def limits(table: pd.DataFrame) -> str:
    """How near all together comes to the slower of net and codec, and to what the cores allow; see `benchmark_video`.

    Raises:
        ValueError: a row is missing.
    """
    fps, cpu = (table.pivot(index="round", columns="what", values=name) for name in ("fps", "cpu_ms"))
    slower = fps[["net", "codec"]].min(axis="columns")
    shares = (fps["all"] / slower).sort_values()
    cores = os.cpu_count() or 1
    allowed = slower.clip(upper=1e3 * cores / (cpu["net"] + cpu["codec"]))
    told = f"All reaches {shares.median():.0%} of the slower of net and codec ({shares.min():.0%} to {shares.max():.0%}"
    told += f" in {len(shares)} rounds; the goal is {GOAL:.0%})"
    return (
        f"{told}. With the CPU time that net and codec take alone, {cores} cores allow {allowed.median():.2f} "
        f"frames/s, {(allowed / slower).median():.0%} of it: all reaches {(fps['all'] / allowed).median():.0%} of that."
    )


def growth(minutes: pd.DataFrame) -> str:
    """What memory did from the first minute to the last; `minutes` is of `Watch.minutes`."""
    first, last = minutes["rss_mb"].iloc[0], minutes["rss_mb"].iloc[-1]
    return (
        f"Memory: {first:.0f} MB in minute 1, {last:.0f} MB in minute {minutes['minute'].iloc[-1]} "
        f"({last / first - 1:+.1%}), at most {minutes['rss_mb'].max():.0f} MB."
    )


def resident_mb() -> float:
    """Megabytes of memory that this process holds now; NaN where the system does not say (macOS)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
