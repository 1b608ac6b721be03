"""Size and speed: of our nets, beside the official code, of patch refinement, metrics, data, training and video.

    python -m experiments.benchmark                                   every net at 512 × 288, as `nets` does
    python -m experiments.benchmark nets --nets rvm modnet_v --sizes 512x288 1920x1080
    python -m experiments.benchmark nets --nets rvm:backbone=resnet50 outputs/brm_ablation/CELL/model.pt
    python -m experiments.benchmark nets weights=rvm_mobilenetv3      published weights by name
    python -m experiments.benchmark nets onnx=net.onnx                a net in an ONNX file
    python -m experiments.benchmark official --net rvm --code ~/RobustVideoMatting
    python -m experiments.benchmark official --net weights=rvm_mobilenetv3_onnx --sizes 512x288@0.5    file beside net
    python -m experiments.benchmark prm                               what patch refinement saves
    python -m experiments.benchmark metrics --code ~/RobustVideoMatting
    python -m experiments.benchmark video --set input=me.mp4 weights=rvm_mobilenetv3 --minutes 60
    python -m experiments.benchmark data --code ~/RobustVideoMatting  frames a second of each source
    python -m experiments.benchmark train --set model=rvm scale=small trainer=gpu    where a training step's time goes

Times hold for this machine, in this run. Each command says more with --help.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from datamodules.processes import keep_memory
from experiments.benchmarks import data, nets, official, output, prm, roofline, train
from experiments.benchmarks.inputs import parse_size
from experiments.benchmarks.subjects import parse_subject
from experiments.benchmarks.variants import MODES, PRECISIONS, default_modes, runnable_precisions
from experiments.command.errors import ends_with_one_line
from experiments.command.progress import step_progress
from experiments.matting import speed
from experiments.matting.request import job_of
from lightning_modules.nets import NETS
from lightning_modules.nets.onnx_files import is_onnx


def main(arguments: list[str]) -> int:
    """Run the benchmark that the command line names; `nets` if it names none."""
    if not arguments or arguments[0] not in (*COMMANDS, "-h", "--help"):
        arguments = ["nets", *arguments]
    options = make_parser().parse_args(arguments)
    if not 0 <= options.seconds < math.inf:
        raise ValueError(f"--seconds must be a number from 0 on, got {options.seconds}")
    for name in ("threads", "frames", "chunk", "batch", "steps"):
        if (number := getattr(options, name, None)) is not None and number < 1:
            raise ValueError(f"--{name} must be 1 or more, got {number}")
    torch.set_num_threads(options.threads)
    options.device = pick_device(options.device)
    if options.device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    print(output.describe_machine(options.device), flush=True)
    COMMANDS[options.command](options)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """All options of all commands."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="of the CPU (default: %(default)s)"
    )
    shared.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    shared.add_argument("--seconds", type=float, default=4, help="of timing for each variant (default: %(default)s)")
    shared.add_argument("--output", type=Path, metavar="DIR", help="also write CSV (and the plot) there")
    commands = parser.add_subparsers(dest="command", required=True)

    add = commands.add_parser("nets", parents=[shared], help=nets.__doc__, description=nets.__doc__)
    add.add_argument(
        "weights", nargs="*", metavar="weights=NAME | onnx=FILE", help="published (docs/weights.md lists them); any net"
    )
    add.add_argument("--nets", nargs="+", default=[], metavar="NET", help=_NETS_HELP)
    add.add_argument("--sizes", nargs="+", metavar="WxH[@RATIO]", help="default: 512x288, on CUDA also HD and 4K")
    add.add_argument("--precisions", nargs="+", choices=PRECISIONS, help="default: those that the device computes")
    add.add_argument("--modes", nargs="+", choices=MODES, help="default: eager channels_last, on CUDA more")
    add.add_argument("--frames", type=int, help="of the clip on which mattes are compared (default: 10; CUDA: 100)")
    add.add_argument("--chunk", type=int, default=4, help="frames a call for the throughput (default: %(default)s)")
    add.add_argument("--batch", type=int, default=1, help="clips a call for the throughput (default: %(default)s)")
    add.add_argument("--records", type=Path, metavar="outputs/EXP", help="run records: draw quality against speed")

    add = commands.add_parser("official", parents=[shared], help=official.__doc__, description=official.__doc__)
    add.add_argument("--net", required=True, help=_OFFICIAL_HELP)
    add.add_argument(
        "--code", type=Path, metavar="DIR | FILE", help="a clone of the paper's repository, or the published ONNX file"
    )
    add.add_argument("--sizes", nargs="+", default=["512x288", "1920x1080"], metavar="WxH[@RATIO]")
    add.add_argument("--frames", type=int, default=3, help="over which mattes are compared (default: %(default)s)")
    add.add_argument(
        "--variants", nargs="+", metavar="PRECISION:MODE", help="of ours (default: fp32:eager and the fastest)"
    )

    add = commands.add_parser("prm", parents=[shared], help=prm.__doc__, description=prm.__doc__)
    add.add_argument("--checkpoint", type=Path, help="model.pt of a trained modnet_v; else flaws are the true ones")

    add = commands.add_parser("metrics", parents=[shared], help=_METRICS_HELP, description=_METRICS_HELP)
    add.add_argument("--code", type=Path, required=True, metavar="DIR", help="a clone of RobustVideoMatting")
    add.add_argument("--sizes", nargs="+", default=["512x288", "1920x1080"], metavar="WxH")

    add = commands.add_parser("data", parents=[shared], help=data.__doc__, description=data.__doc__)
    add.add_argument("--code", type=Path, metavar="DIR", help="a clone of RobustVideoMatting")
    add.add_argument("--frames", type=int, default=15, help="of a sample (default: %(default)s)")
    add.add_argument("--files", default="768x432", metavar="WxH", help="size of the files (default: %(default)s)")
    add.add_argument("--side", type=int, default=512, help="of a sample, pixels (default: %(default)s)")

    add = commands.add_parser("train", parents=[shared], help=train.__doc__, description=train.__doc__)
    add.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the cell, as of `run`")
    add.add_argument("--steps", type=int, default=24, help="that are timed, of each stage (default: %(default)s)")

    add = commands.add_parser("video", parents=[shared], help=speed.__doc__, description=speed.__doc__)
    add.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings, as of `matte`: input=FILE …")
    add.add_argument(
        "--minutes", type=float, default=0, help="then all once more for so long, with memory (default: %(default)s)"
    )
    return parser


_NETS_HELP = (
    f"{', '.join(NETS)}; NAME:option=value,option=value; a model.pt; weights=NAME (default: all, with default options)"
)
_OFFICIAL_HELP = f"{', '.join(official.OFFICIAL_NETS)}; NAME:backbone=resnet50 …; weights=NAME of an ONNX file"
_METRICS_HELP = "Our metrics beside those of RVM's evaluation scripts, on the same frames in the same run."


def run_nets(options: argparse.Namespace) -> None:
    """The command `nets`: speed, memory and size of nets in every precision and mode."""
    device = options.device
    on_cuda = device.type == "cuda"
    subjects = [parse_subject(text) for text in [*options.nets, *options.weights] or NETS]
    quality = output.read_quality(options.records) if options.records else {}
    default = ["512x288", "1920x1080", "3840x2160"] if on_cuda else ["512x288"]
    sizes = [parse_size(text) for text in options.sizes or default]
    settings = nets.Settings(
        device,
        options.precisions or runnable_precisions(device),
        options.modes or default_modes(device),
        options.seconds,
        options.frames or (100 if on_cuda else 10),
        options.chunk,
        options.batch,
    )
    with step_progress("ceilings", nets.count_steps(subjects, sizes, settings)) as advance:
        ceilings = roofline.measure_ceilings(device, list(settings.precisions), min(1.0, options.seconds))
        tables = nets.benchmark_nets(subjects, sizes, settings, ceilings, advance)
        table = _collect(tables, options.output, "nets.csv")
    print(f"\nCeilings measured in this run: {ceilings}\n\n{roofline.COUNTED}\n")
    print(output.markdown(table.drop_duplicates(["net", "size"]), nets.NET_COLUMNS) + "\n")
    print(output.markdown(table, nets.SPEED_COLUMNS))
    print(f"\n{nets.LEGEND}\n")
    print(f"More: --sizes 512x288 1920x1080 3840x2160 --modes {' '.join(MODES)} --precisions {' '.join(PRECISIONS)}")
    if quality:
        path = (options.output or Path.cwd()) / "quality_against_speed.svg"
        output.plot_quality(path, table, quality)
        print(f"Quality against speed: {path}")


def run_official(options: argparse.Namespace) -> None:
    """The command `official`: the published code beside ours, on the same frames."""
    subject = parse_subject(options.net)
    code = options.code or subject.checkpoint
    if code is None:
        raise ValueError("--code must be given: a clone of the paper's repository, or the published ONNX file")
    fastest = next(each for each in ("fp16", "bf16", "fp32") if each in runnable_precisions(options.device))
    variants = [parse_variant(text) for text in options.variants or ("fp32:eager", f"{fastest}:fastest")]
    sizes = [parse_size(text) for text in options.sizes]
    given = (subject.name, subject.options, code, sizes, variants, options.device, options.seconds)
    with step_progress("official code beside ours", len(sizes)) as advance:
        tables = official.benchmark_official(*given, advance, options.frames)
        table = _collect(tables, options.output, "official.csv")
    print(output.markdown(table, official.COLUMNS))
    if subject.name == "rvm" and is_onnx(code) and any(size.ratio == 1 for size in sizes):
        print(f"\n{official.AT_RATIO_1}")


def run_prm(options: argparse.Namespace) -> None:
    """The command `prm`: what refining chosen patches saves against the whole frame."""
    part = prm.load_prm(options.checkpoint)
    with step_progress("patch refinement", len(prm.FRAMES)) as advance:
        tables = prm.benchmark_prm(part, options.device, options.checkpoint is not None, advance)
        table = _collect(tables, options.output, "prm.csv")
    print(f"ξ = {part.xi}, flaws are {'predicted' if options.checkpoint else 'the true ones'}\n")
    print(output.markdown(table, prm.COLUMNS))


def run_metrics(options: argparse.Namespace) -> None:
    """The command `metrics`: our metrics beside those of RVM's evaluation scripts."""
    from experiments.benchmarks.metrics import benchmark_metrics

    sizes = [(size.height, size.width) for size in map(parse_size, options.sizes)]
    with step_progress("metrics", 1):
        table = _collect(
            [benchmark_metrics(options.code, sizes, options.threads, options.seconds)], options.output, "metrics.csv"
        )
    columns = {str(name): (str(name), ".3g" if table[name].dtype.kind in "fi" else "") for name in table}
    print(output.markdown(table, columns))


def run_data(options: argparse.Namespace) -> None:
    """The command `data`: frames a second of each source, beside those of RVM's own training data."""
    size = parse_size(options.files)
    with step_progress("files", 3) as advance, TemporaryDirectory() as folder:
        files = (size.height, size.width)
        table = data.benchmark_data(
            Path(folder), options.frames, files, options.side, options.seconds, options.code, advance
        )
        table = _collect([table], options.output, "data.csv")
    print(f"{output.markdown(table, data.COLUMNS)}\n\n{data.LEGEND}")


def run_train(options: argparse.Namespace) -> None:
    """The command `train`: the parts of a training step, in each stage of a cell."""
    settings = train.compose_cell(options.set)
    with step_progress("training", len(settings.stages)) as advance:
        tables = train.benchmark_train(settings, options.device, options.steps, advance)
        table = _collect(tables, options.output, "train.csv")
    print(f"{output.markdown(table, train.COLUMNS)}\n\n{train.LEGEND}")


def run_video(options: argparse.Namespace) -> None:
    """The command `video`: a video decoded, matted and encoded, beside the net alone."""
    keep_memory()
    named = f"device={options.device.type}"
    with TemporaryDirectory() as folder:
        job = job_of([named, *options.set, f"output={folder}"])
        with step_progress("the net alone", speed.ROUNDS * 3 + 1) as advance:
            table = _collect(speed.benchmark_video(job, options.seconds, advance), options.output, "video.csv")
        middle = table.groupby("what", sort=False).median().reset_index()
        print(f"{output.markdown(middle, speed.COLUMNS)}\n\n{speed.limits(table)}\n\n{speed.LEGEND}", flush=True)
        if options.minutes:
            minutes = speed.Trial(job).together(60 * options.minutes, shown=True).minutes()
            minutes = _collect([minutes], options.output, "video_memory.csv")
            print(f"\n{output.markdown(minutes, speed.MEMORY_COLUMNS)}\n\n{speed.growth(minutes)}")


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "nets": run_nets,
    "official": run_official,
    "prm": run_prm,
    "metrics": run_metrics,
    "data": run_data,
    "train": run_train,
    "video": run_video,
}


def _collect(tables: Iterable[pd.DataFrame], folder: Path | None, name: str) -> pd.DataFrame:
    """All tables in one; after each of them the file holds what is finished."""
    done: list[pd.DataFrame] = []
    for table in tables:
        done.append(table)
        if folder is not None:
            output.write_csv(folder / name, pd.concat(done, ignore_index=True))
    return pd.concat(done, ignore_index=True)


def parse_variant(text: str) -> tuple[str, str]:
    """(precision, mode) of a text "bf16:fastest".

    Raises:
        ValueError: it is none.
    """
    precision, _, mode = text.partition(":")
    if precision not in PRECISIONS or mode not in MODES:
        raise ValueError(f"a variant is PRECISION:MODE of {', '.join(PRECISIONS)}; {', '.join(MODES)}; got {text!r}")
    return precision, mode


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one.

    Raises:
        ValueError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device must be auto, cpu, cuda or cuda:NUMBER, got {name!r}") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"there is no device {name} here; take --device cpu")
    return device


if __name__ == "__main__":
    ends_with_one_line(partial(main, sys.argv[1:]))
