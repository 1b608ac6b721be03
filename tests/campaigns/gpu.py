"""The figures of a CUDA device at the first chance: its tests and the benchmarks of nets, data, training.

    python -m tests.campaigns.gpu OUTPUT                                    on one GPU
    python -m tests.campaigns.gpu OUTPUT --code CLONES                      the official code beside ours, too
    python -m tests.campaigns.gpu OUTPUT --smoke                            the same at its smallest, also on a CPU

OUTPUT gets what each command prints, NAME.txt, and its CSV, NAME/. CLONES holds RobustVideoMatting, MODNet and
BackgroundMattingV2 as folders; a line for each net, size and mode then tells whether it is as fast as it should be. A
command that fails does not stop the others; the exit status tells that one did.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

# MODNet has no ratio: it sees the frames as they are.
OFFICIAL = {
    "rvm": ("RobustVideoMatting", ("512x288", "1920x1080@0.25", "3840x2160@0.125")),
    "modnet": ("MODNet", ("512x512", "1920x1080", "3840x2160")),
    "background_matting_v2:backbone=resnet50": ("BackgroundMattingV2", ("1920x1080@0.25", "3840x2160@0.125")),
}
# Of ours, beside the official code in float32 and eager mode.
VARIANTS = ("fp32:eager", "fp32:channels_last", "fp32:streamed", "tf32:streamed", "fp16:streamed", "fp16:fastest")
# Times that a mode should be as fast as the official code, and how much above the median p99 may be in a stream.
GOALS, EVEN = {"eager": 1.0, "streamed": 3.0}, 1.15
TRAINED = ("modnet", "modnet_v", "rvm", "background_matting_v2", "context_motion")


def commands(output: Path, code: Path | None, smoke: bool) -> dict[str, list[str]]:
    """Words of each command by its name."""
    least = ["--seconds", "0.1"] if smoke else []
    cell = ["scale=smoke"] if smoke else ["scale=small", "trainer=gpu", f"data.cache_dir={output}/cache"]
    steps = ["--steps", "1"] if smoke else []
    benchmarks = {
        "nets": [
            "nets",
            *(["--nets", "rvm", "--sizes", "64x64", "--frames", "2", "--modes", "eager", "streamed"] if smoke else []),
            *least,
        ],
        "data": ["data", *(["--frames", "3", "--side", "64", "--files", "96x64"] if smoke else []), *least],
    }
    for model in TRAINED[:1] if smoke else TRAINED:
        benchmarks[f"train_{model}"] = ["train", *steps, "--set", f"model={model}", "logger=none", *cell]
    if code is not None:
        for net, (folder, sizes) in OFFICIAL.items():
            sizes = ("64x64",) if smoke else sizes
            variants = ("fp32:eager", "fp32:streamed", "bf16:streamed") if smoke else VARIANTS
            words = ["official", "--net", net, "--code", str(code / folder), "--sizes", *sizes, *least]
            words += ["--variants", *variants]
            benchmarks[f"official_{folder}"] = words
        benchmarks["data"] += ["--code", str(code / "RobustVideoMatting")]
    found = {"tests": ["pytest", "-n0", "-m", "gpu", "tests"]}
    return found | {
        name: ["experiments.benchmark", words[0], "--output", str(output / name), *words[1:]]
        for name, words in benchmarks.items()
    }


def judged(table: pd.DataFrame) -> list[str]:
    """A line for each row of `benchmark official` that has a goal: whether it is met."""
    lines = []
    for row in table.to_dict("records"):
        mode = str(row["variant"]).split()[1]
        if mode not in GOALS:
            continue
        met = row["ratio"] >= GOALS[mode] and (mode != "streamed" or row["p99_ratio"] <= EVEN)
        figures = f"{row['ratio']:.2f} × (goal {GOALS[mode]:g}), p99 {row['p99_ratio']:.2f} × the median"
        lines.append(f"{'met' if met else 'MISSED':8} {row['net']} {row['size']} {row['variant']}: {figures}")
    return lines


def main(arguments: list[str]) -> int:
    """Run all; 1 if a command failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("output", type=Path)
    parser.add_argument("--code", type=Path, metavar="CLONES")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, words in commands(options.output, options.code, options.smoke).items():
        begin = time.monotonic()
        with (options.output / f"{name}.txt").open("w", encoding="utf-8") as file:
            print(f"$ python -m {' '.join(words)}", file=file, flush=True)
            ended = subprocess.run([sys.executable, "-m", *words], stdout=file, stderr=subprocess.STDOUT, check=False)
        failed |= int(ended.returncode != 0)
        state = f"FAILED ({ended.returncode})" if ended.returncode else "done"
        print(f"{name:28} {state:12} {time.monotonic() - begin:5.0f} s", flush=True)
        if (file := options.output / name / "official.csv").is_file():
            print(*judged(pd.read_csv(file)), sep="\n", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
