"""A page to try nets: a picture or a video, two nets side by side, a line to drag between them.

    python -m experiments.demo                                     published weights (docs/weights.md lists them)
    python -m experiments.demo checkpoint=outputs/brm_ablation/CELL/model.pt weights=rvm_mobilenetv3
    python -m experiments.demo onnx=net.onnx weights=modnet_webcam --port 8000

It is for this machine alone (127.0.0.1), sends nothing anywhere, and loads nothing but the weights that are chosen,
once. Ctrl-C ends it. It needs gradio: pip install -e ".[demo]"
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from datamodules.processes import keep_memory
from experiments.command.errors import ends_with_one_line
from experiments.command.quoting import in_quotes
from experiments.inference.saved_nets import saved_name
from experiments.matting.page import HOST, build_page, serve
from lightning_modules.nets import NETS
from lightning_modules.nets.published import PUBLISHED, published

KINDS = ("weights", "checkpoint", "onnx")


def main(arguments: list[str]) -> int:
    """Show the page until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m experiments.demo", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("nets", nargs="*", metavar="weights=NAME | checkpoint=FILE | onnx=FILE", help="that come first")
    parser.add_argument("--port", type=int, default=7860, help="of this machine (default: %(default)s)")
    options = parser.parse_args(arguments)
    given = [parse_net(text) for text in options.nets]
    names = [name for name, each in PUBLISHED.items() if not NETS[each.net].needs_plate]
    refuse_taken_port(options.port)
    keep_memory()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with TemporaryDirectory(prefix="portrait-matting-") as place:
        page = build_page(list(dict.fromkeys([*given, *(f"weights={name}" for name in names)])), Path(place))
        print(f"page      http://{HOST}:{options.port} on this machine alone; Ctrl-C ends it", flush=True)
        serve(page, options.port)
    return 0


def parse_net(text: str) -> str:
    """A net of the command line as `experiments.matte` takes it.

    Raises:
        ValueError: it is none, no weights have that name, or there is no such file or none that says its net.
    """
    kind, _, value = text.partition("=")
    if kind not in KINDS or not value:
        raise ValueError(f"a net is {', '.join(f'{each}=…' for each in KINDS)}, got {text!r}")
    if kind == "weights":
        published(value)
        return text
    if not Path(value).is_file():
        raise ValueError(f"{kind}: there is no file {value}")
    if kind == "checkpoint" and saved_name(Path(value)) is None:
        raise ValueError(f"{value} does not say which net it is of: the page takes model.pt of a run, or weights=NAME")
    return f"{kind}={in_quotes(value)}"


def refuse_taken_port(port: int) -> None:
    """Check that a page can be shown there.

    Raises:
        ValueError: the port is taken, or none.
    """
    try:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((HOST, port))
    except (OSError, OverflowError) as error:
        raise ValueError(f"--port {port} cannot be used ({error}); give another one") from None


if __name__ == "__main__":
    ends_with_one_line(partial(main, sys.argv[1:]))
