"""A page in the browser on which two nets matte the same picture or video, side by side; for this machine alone."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from PIL import ImageColor

from datamodules.files.folders import IMAGE_SUFFIXES
from datamodules.files.pictures import read_image
from datamodules.video import probe, read_frames
from experiments.command.errors import BAD_INPUT
from experiments.command.messages import one_line
from experiments.command.quoting import in_quotes
from experiments.matting.request import job_of

HOST = "127.0.0.1"
GRACE_SECONDS = 2  # of answers that are on their way when the page is ended
# Browsers then ask nothing of any other address, whatever the page or its libraries name.
ONLY_FROM_HERE = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
    "form-action 'self'; frame-ancestors 'none'"
)
MISSING = 'gradio is missing: pip install -e ".[demo]"'


def matte_with(net: str, shown: Path, over: str, folder: Path) -> Path:
    """The composite that a net makes of a picture or a video.

    Args:
        net: "weights=NAME", "checkpoint=FILE" or "onnx=FILE", as of `experiments.matte`.
        shown: the picture or video.
        over: colour behind it.
        folder: of what is written; made, where it is not there.

    Raises:
        ValueError: one of them cannot be read, `over` is no colour, or see `Job.run`.
    """
    ImageColor.getrgb(over)  # no file's name: whoever reaches the page must not see this machine's pictures
    is_picture = shown.suffix.lower() in IMAGE_SUFFIXES
    if is_picture:  # a film of one frame
        frames = folder / "frames"
        frames.mkdir(parents=True)
        shutil.copy(shown, frames / f"0{shown.suffix}")
        shown = frames
    write = "composite.png" if is_picture else "composite.mp4"
    named = {"input": str(shown), "output": str(folder / "out"), "over": over}
    words = [net, f"write=[{write}]", *(f"{name}={in_quotes(value)}" for name, value in named.items())]
    job_of(words).run()
    return folder / "out" / ("composite/00000000.png" if is_picture else write)


def compare(shown: Path, nets: Sequence[str], over: str, place: Path) -> list[Path]:
    """The composites of each of the nets, in a folder of their own in `place`."""
    folder = Path(mkdtemp(dir=place))
    return [matte_with(net, shown, over, folder / str(number)) for number, net in enumerate(nets)]


def picture_at(composite: Path, moment: float) -> Any:
    """What a composite shows at a moment, 0 (beginning) to 1 (end): (H, W, 3) uint8."""
    if composite.suffix.lower() in IMAGE_SUFFIXES:
        picture = read_image(composite)
    else:
        picture = read_frames(composite, [round(moment * (probe(composite).num_frames - 1))])[0]
    return picture.permute(1, 2, 0).numpy()


def build_page(nets: Sequence[str], place: Path) -> Any:
    """The page, on which two of these nets can be chosen; it tells nobody that it is used.

    Args:
        nets: as `matte_with` takes them.
        place: folder for what is made.

    Raises:
        ValueError: gradio is missing.
    """
    try:
        import gradio
    except ImportError as error:
        raise ValueError(MISSING) from error

    def matte(shown: str | None, first: str, second: str, over: str, moment: float) -> tuple[Any, ...]:
        try:
            if shown is None:
                raise ValueError("upload a picture or a video first")
            composites = compare(Path(shown), [first, second], over, place)
        except BAD_INPUT as error:
            raise gradio.Error(one_line(error), print_exception=False) from error
        names = [str(each) for each in composites]
        videos = names if composites[0].suffix == ".mp4" else [None, None]
        return tuple(picture_at(each, moment) for each in composites), *videos, names

    def show(composites: list[str], moment: float) -> Any:
        return tuple(picture_at(Path(each), moment) for each in composites) if composites else None

    with gradio.Blocks(title="Portrait Matting Lab", analytics_enabled=False) as page:
        gradio.Markdown("Upload a picture or a video of a person, choose two nets, and drag the line between them.")
        made = gradio.State([])
        with gradio.Row():
            shown = gradio.File(label="picture or video", file_types=["image", "video"])
            with gradio.Column():
                first = gradio.Dropdown(list(nets), value=nets[0], label="left")
                second = gradio.Dropdown(list(nets), value=nets[min(1, len(nets) - 1)], label="right")
                over = gradio.Textbox("#78ff9b", label="over: a colour (#rrggbb, white, …)")
                moment = gradio.Slider(0, 1, 0.5, label="moment of the video")
                button = gradio.Button("matte", variant="primary")
        slider = gradio.ImageSlider(label="left | right", type="numpy")
        with gradio.Row():
            videos = [gradio.Video(label=side, interactive=False) for side in ("left", "right")]
        button.click(
            matte, [shown, first, second, over, moment], [slider, *videos, made], api_name="matte", concurrency_limit=1
        )
        moment.release(show, [made, moment], slider, api_name=False)
    return page


def serve(page: Any, port: int) -> None:
    """Show the page to this machine until Ctrl-C."""
    import gradio
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI()

    @app.middleware("http")
    async def only_from_here(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = ONLY_FROM_HERE
        return response

    # Other sites cannot reach it under a name of theirs.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    gradio.mount_gradio_app(app, page, path="/", server_name=HOST, server_port=port, theme=theme, ssr_mode=False)
    # A page that is open in a browser holds a connection without an end; Ctrl-C does not wait for it.
    uvicorn.run(app, host=HOST, port=port, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS)
