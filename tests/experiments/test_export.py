"""Nets as files: each beside its net, what files say of themselves, what cannot be exported."""

import json
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from experiments import export
from experiments.inference.exported_check import SIZES
from experiments.inference.onnx_nets import load_onnx
from experiments.inference.saved_nets import save_net
from lightning_modules.nets import NETS, build_net
from lightning_modules.nets.frame_graphs import frame_graph

# Segmentation nets as probabilities, as a threshold would hide how near they are; no flow that no graph can hold.
SETTINGS = {
    **dict.fromkeys(("context_motion", "modnet_flow"), ("model.flow=none",)),
    **dict.fromkeys(("deeplabv3", "lraspp"), ("model.threshold=null",)),
}


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command; gives the file."""

    def run(*words: str, suffix: str = ".onnx") -> Path:
        path = tmp_path / f"net{suffix}"
        monkeypatch.setattr(sys, "argv", ["export", *words, f"output={path}"])
        GlobalHydra.instance().clear()
        assert export.main() == 0
        return path

    return run


def told(path: Path) -> dict[str, str]:
    import onnx

    return {each.key: each.value for each in onnx.load_model(path).metadata_props}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_onnx_gives_the_mattes_of_the_net_over_frames_of_every_size(name, exported, capsys) -> None:
    path = exported(f"model={name}", *SETTINGS.get(name, ()))
    printed = capsys.readouterr().out
    assert printed.count("largest difference") == len(SIZES)
    assert told(path)["net"] == name


@pytest.mark.slow
def test_a_program_of_torch_export_does_too(exported, capsys) -> None:
    path = exported("model=rvm", "format=torch_export", suffix=".pt2")
    assert capsys.readouterr().out.count("largest difference") == len(SIZES)
    kept = {"metadata.json": ""}
    torch.export.load(path, extra_files=kept)
    assert json.loads(kept["metadata.json"])["net"] == "rvm"


@pytest.mark.slow
def test_a_file_that_differs_is_not_kept(exported, tmp_path, monkeypatch) -> None:
    (tmp_path / "net.onnx").write_bytes(b"earlier")
    monkeypatch.setattr(export, "read_onnx", lambda path: lambda given: {"pha": given["src"][:, :1]})
    with pytest.raises(ValueError, match="the file is not kept: on frames of 1 × 96 × 160"):
        exported("model=lraspp")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"earlier"


@pytest.mark.slow
def test_the_file_of_a_checkpoint_says_what_it_is(exported, tmp_path) -> None:
    net = build_net("rvm", width=0.25, decoder_width=0.25)
    net.reset_parameters(0)
    model = {"name": "rvm", "width": 0.25, "decoder_width": 0.25}
    save_net(tmp_path / "model.pt", net, model)
    path = exported(f"checkpoint={tmp_path / 'model.pt'}")
    facts = told(path)
    assert facts["net"] == "rvm"
    assert json.loads(facts["options"])["width"] == 0.25
    assert json.loads(facts["states"]) == {"r1": "r1", "r2": "r2", "r3": "r3", "r4": "r4"}
    assert "licence" in facts
    assert len(facts["checkpoint_sha256"]) == 64
    # And it is a net again, with its state and ratio.
    again = load_onnx(path)
    frames = torch.rand(1, 3, 3, 64, 96)
    with torch.no_grad():
        expected = net.eval()(frames, downsample_ratio=0.5)
    found = again(frames, downsample_ratio=0.5)
    torch.testing.assert_close(found.alpha, expected.alpha, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.foreground, expected.foreground, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=modnet_flow",), "modnet_flow cannot be exported: its optical flow is computed by OpenCV"),
        (("model=modnet_flow", "model.flow=oracle"), "the true flow, which only composites have"),
        (("model=modnet", "format=tflite"), "format must be one of onnx, torch_export, got 'tflite'"),
        (("model=modnet", "format=torch_export"), r"output must be a file called ….pt2"),
        ((), "say which net it is: model=NAME"),
        (("weights=rvm_mobilenetv3", "model=rvm"), "leave model= out"),
    ],
)
def test_bad_input_is_told_in_one_line(words, message, exported, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        exported(*words)
    assert not list(tmp_path.iterdir())


def test_without_the_packages_a_line_names_the_extra(exported, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"pip install -e \"\.\[onnx\]\""):
        exported("model=lraspp")


def test_states_of_zeros_are_those_of_a_new_clip_in_each_clip_by_itself() -> None:
    net = build_net("context_motion", backbone="mobilenetv2", flow="none", width=0.25, context_channels=8, hidden=8)
    net.reset_parameters(0)
    graph = frame_graph(net.eval())
    first, second = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        *_, hidden, context = graph(first, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
        both = graph(
            torch.cat((second, second)),
            torch.cat((torch.zeros_like(hidden), hidden)),
            torch.cat((torch.zeros_like(context), context)),
        )
        new = net(second[:, None])
        later = net(second[:, None], state=net(first[:, None]).state)
    torch.testing.assert_close(both[1][:1], new.alpha[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(both[1][1:], later.alpha[:, 0], atol=1e-5, rtol=0)
