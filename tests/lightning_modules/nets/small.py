"""Every net of the table at its smallest; what holds for all nets is tested on these."""

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "modnet": {"width": 0.25, "hidden": 8},
    "modnet_flow": {"width": 0.25, "hidden": 8, "flow": "none"},
    "modnet_v": {"width": 0.5, "hidden": 8, "prm": False},
    "rvm": {"width": 0.25, "decoder_width": 0.25, "refiner": "bilinear"},
    "context_motion": {"backbone": "mobilenetv2", "width": 0.5, "context_channels": 8, "hidden": 8, "flow": "none"},
    "background_matting_v2": {
        **{"backbone": "mobilenetv2", "width": 0.25},
        # Of the error map, which ranks cells, all of it counts: rounding may then not choose others.
        **{"refine_share": 1.0, "refine_prevent_oversampling": False},
    },
    "lraspp": {"threshold": None},
    "deeplabv3": {"backbone": "mobilenetv3", "threshold": None},
}
