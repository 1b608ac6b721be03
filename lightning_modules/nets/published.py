"""Published weights by name: which net they are of, where they lie, their SHA-256 and licence.

Hashes are those that several independent public texts give for these files (of `rvm_mobilenetv3_fp32.onnx` that of a
copy of the file, too); None where no such text is known. MODNet's authors share a Google Drive folder, so its address
is OpenVINO's copy, which has the same bytes. Licences are those of the source pages; only MODNet's names the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple


class Published(NamedTuple):
    """One file of weights that others have published.

    Attributes:
        net: a key of `NETS`.
        address: of the file, to download it from.
        sha256: of the file, hexadecimal; None: nobody tells it.
        licence: under which it was published.
        source: page of those who made it.
        options: of the net.
    """

    net: str
    address: str
    sha256: str | None
    licence: str
    source: str
    options: Mapping[str, Any] = {}

    @property
    def file(self) -> str:
        """What the file is called."""
        return self.address.rpartition("/")[2]


def published(name: str) -> Published:
    """The row of `PUBLISHED` of that name.

    Raises:
        ValueError: there is none; the message has those that there are, the nearest first.
    """
    if name not in PUBLISHED:
        known = get_close_matches(name, PUBLISHED, n=len(PUBLISHED), cutoff=0)
        raise ValueError(f"no published weights are called {name!r}; there are, the nearest first: {', '.join(known)}")
    return PUBLISHED[name]


def _rvm(backbone: str, file: str, sha256: str) -> Published:
    source = "https://github.com/PeterL1n/RobustVideoMatting"
    address = f"{source}/releases/download/v1.0.0/{file}"
    return Published("rvm", address, sha256, "GPL-3.0", source, {"backbone": backbone})


def _modnet(kind: str, sha256: str) -> Published:
    copies = "https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2022.2"
    address = f"{copies}/modnet-{kind}-portrait-matting/modnet_{kind}_portrait_matting.ckpt"
    return Published("modnet", address, sha256, "Apache-2.0", "https://github.com/ZHKKKe/MODNet")


def _background_matting(backbone: str) -> Published:
    source = "https://github.com/PeterL1n/BackgroundMattingV2"
    address = f"{source}/releases/download/v1.0.0/pytorch_{backbone}.pth"
    return Published("background_matting_v2", address, None, "MIT", source, {"backbone": backbone})


def _torchvision(net: str, file: str, sha256: str, options: Mapping[str, Any]) -> Published:
    address, source = f"https://download.pytorch.org/models/{file}", "https://github.com/pytorch/vision"
    return Published(net, address, sha256, "BSD-3-Clause", source, options)


PUBLISHED: dict[str, Published] = {
    "rvm_mobilenetv3": _rvm(
        "mobilenetv3", "rvm_mobilenetv3.pth", "3c7c1d92033f7c38d6577c481d13a195d7d80a159b960f4f3119ac7b534cf4f8"
    ),
    "rvm_resnet50": _rvm(
        "resnet50", "rvm_resnet50.pth", "c191a807251164c073dce5fa408e7a816070d539b882b2a3150330a9fec112ce"
    ),
    "rvm_mobilenetv3_torchscript": _rvm(
        "mobilenetv3",
        "rvm_mobilenetv3_fp32.torchscript",
        "f01e0c9338b9a6a31b881ea6d4360d70c1e549701b3792e14c9ed88d6196c5a1",
    ),
    "rvm_resnet50_torchscript": _rvm(
        "resnet50",
        "rvm_resnet50_fp32.torchscript",
        "072adec3c75a1af773ec35d8b595612f8e3472b7a4b8a210684432b493376852",
    ),
    "rvm_mobilenetv3_onnx": _rvm(
        "mobilenetv3", "rvm_mobilenetv3_fp32.onnx", "88d4531297118f595bf2fd60f6f566aec2e559393802d1f436c380f0cbbd2828"
    ),
    "rvm_resnet50_onnx": _rvm(
        "resnet50", "rvm_resnet50_fp32.onnx", "25db300fcb6ee27f941a1b52c97856e8d1f13c7f35817f81a612f89af0e8a85c"
    ),
    "modnet_photographic": _modnet("photographic", "7c22235f0925deba15d4d63e53afcb654c47055bbcd98f56e393ab2584007ed8"),
    "modnet_webcam": _modnet("webcam", "913b82b66558db39b6286c150f809017d7528c872b156eb14333c9c6cb52108b"),
    **{f"background_matting_v2_{each}": _background_matting(each) for each in ("mobilenetv2", "resnet50", "resnet101")},
    "deeplabv3_mobilenetv3": _torchvision(
        "deeplabv3",
        "deeplabv3_mobilenet_v3_large-fc3c493d.pth",
        "fc3c493d68e89cc31ef488c803d5d7dd2f3190fb570598faa49fef69be8e5e70",
        {"backbone": "mobilenetv3"},
    ),
    "deeplabv3_resnet50": _torchvision(
        "deeplabv3",
        "deeplabv3_resnet50_coco-cd0a2569.pth",
        "cd0a25694c4a0f7106b38f4938bf90a874f2f241cc410b8f63c7024399538f06",
        {"backbone": "resnet50"},
    ),
    "deeplabv3_resnet101": _torchvision(
        "deeplabv3",
        "deeplabv3_resnet101_coco-586e9e4e.pth",
        "586e9e4e203fcbf17e1ad45533d8d33ab133fc762bf03101c5dd743995c08c0d",
        {"backbone": "resnet101"},
    ),
    "lraspp": _torchvision(
        "lraspp",
        "lraspp_mobilenet_v3_large-d234d4ea.pth",
        "d234d4eae9d55d5f76de18b77cf0dc62c66fe5c5482758209d00f950c92bb280",
        {},
    ),
}
