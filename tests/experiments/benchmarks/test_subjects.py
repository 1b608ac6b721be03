from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.benchmarks.subjects import parse_subject
from experiments.inference.saved_nets import save_net
from lightning_modules.nets import build_net
from lightning_modules.nets.published import PUBLISHED
from tests.file_server import FileServer


@pytest.mark.parametrize(
    "text",
    [
        "modnet",
        "rvm",
        "rvm:backbone=resnet50",
        "background_matting_v2:backbone=mobilenetv2",
        "background_matting_v2:backbone=resnet50",
        "background_matting_v2:backbone=resnet101",
    ],
)
def test_parameters_are_those_that_the_papers_print(text: str) -> None:
    subject = parse_subject(text)
    with torch.device("meta"):
        net = build_net(subject.name, **subject.options)
    digits = 2 if subject.name == "background_matting_v2" and "resnet" in text else 3
    millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    assert subject.paper_parameters is not None
    assert round(millions, digits) == round(subject.paper_parameters, digits)


def test_a_net_without_a_published_count_has_none() -> None:
    assert parse_subject("modnet_v").paper_parameters is None


def test_options_reach_the_net_and_fresh_weights_are_always_the_same() -> None:
    subject = parse_subject("modnet:width=0.5,hidden=16")
    assert subject.options == {"width": 0.5, "hidden": 16}
    first, second = subject.build(), subject.build()
    assert not first.training
    assert first.inference
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_a_saved_net_is_taken_with_its_weights(tmp_path: Path) -> None:
    net = build_net("modnet", width=0.5)
    save_net(tmp_path / "model.pt", net, {"name": "modnet", "width": 0.5, "pretrained": False})
    subject = parse_subject(str(tmp_path / "model.pt"))
    assert subject.name == "modnet"
    assert torch.equal(subject.build().state_dict()["fusion.head.weight"], net.state_dict()["fusion.head.weight"])


def test_published_weights_come_by_name_with_their_options(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = build_net("lraspp")
    torch.save({key.removeprefix("model."): value for key, value in net.state_dict().items()}, tmp_path / "net.pth")
    server.files["net.pth"] = (tmp_path / "net.pth").read_bytes()
    monkeypatch.setenv("PORTRAIT_MATTING_WEIGHTS", str(tmp_path / "cache"))
    row = PUBLISHED["lraspp"]._replace(address=f"{server.address}/net.pth", sha256=None, options={"threshold": 0.25})
    monkeypatch.setitem(PUBLISHED, "ours", row)
    subject = parse_subject("weights=ours")
    assert (subject.label, subject.name, subject.options) == ("ours", "lraspp", {"threshold": 0.25})
    built = subject.build()
    assert built.threshold == 0.25
    assert all(torch.equal(built.state_dict()[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("modnet:width", "key=value"),
        ("missing.pt", "no checkpoint"),
        ("weights=rvm", "no published weights are called 'rvm'"),
    ],
)
def test_what_is_no_net_is_named(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_subject(text)
