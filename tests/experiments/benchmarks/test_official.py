"""The pair of MODNet, with a clone that is written here: our net under the official names."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from experiments.benchmarks import official
from experiments.benchmarks.inputs import parse_size
from experiments.benchmarks.official import COLUMNS, OFFICIAL_NETS, benchmark_official, import_official
from experiments.inference.exported_files import write_onnx
from lightning_modules.nets import build_net
from lightning_modules.nets.frame_graphs import frame_graph

CODE = """
import torch
from lightning_modules.nets import build_net
from lightning_modules.nets.official import OFFICIAL

class MODNet(torch.nn.Module):
    def __init__(self, backbone_pretrained):
        super().__init__()
        assert not backbone_pretrained
        self.inner = build_net("modnet")

    def state_dict(self):
        theirs = {ours: name for name, ours in OFFICIAL["modnet"].names().items()}
        weights = self.inner.state_dict()
        return {f"{theirs[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": weights[key] for key in weights}

    def forward(self, image, inference):
        assert inference
        return None, None, self.inner(((image + 1) / 2)[:, None]).alpha[:, 0]
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    package = tmp_path / "src" / "models"
    package.mkdir(parents=True)
    for folder in (tmp_path / "src", package):
        (folder / "__init__.py").touch()
    (package / "modnet.py").write_text(CODE)
    return tmp_path


@pytest.mark.slow
def test_the_official_module_and_ours_are_compared_on_the_same_frames(clone: Path) -> None:
    sizes = [parse_size("64x48@0.5"), parse_size("40x33")]
    variants = [("fp32", "eager"), ("bf16", "fused")]
    steps: list[str] = []
    tables = list(benchmark_official("modnet", {}, clone, sizes, variants, torch.device("cpu"), 0, steps.append))
    assert [table["variant"].tolist() for table in tables] == [["fp32 eager", "bf16 fused"]] * 2
    assert [set(table["size"]) for table in tables] == [{"64x48"}, {"40x33"}]  # MODNet knows no ratio
    assert len(steps) == 2
    for table in tables:
        assert COLUMNS.keys() <= set(table)
        assert table["official_difference"][0] < 1e-5
        assert table["fp32_difference"][0] == 0
        assert table["official_difference"][1] > 1e-5
        assert (table["ratio_low"] <= table["ratio"]).all()
        assert (table["ratio"] <= table["ratio_high"]).all()


def test_two_clones_with_one_package_name_do_not_mix(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "__init__.py").write_text(f"WHO = {name!r}")
    assert [import_official(tmp_path / name, "model").WHO for name in ("first", "second", "first")] == [
        "first", "second", "first"
    ]  # fmt: skip


@pytest.mark.parametrize("name", OFFICIAL_NETS)
def test_a_folder_that_is_no_clone_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clone of the official code"):
        OFFICIAL_NETS[name](tmp_path)


def test_a_net_without_official_code_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no official code is known for 'lraspp'"):
        next(benchmark_official("lraspp", {}, tmp_path, [], [], torch.device("cpu"), 0, print))


@pytest.mark.slow
@pytest.mark.parametrize("changed", [0.0, 0.01])
def test_a_published_onnx_file_is_compared_with_our_net_over_frames_with_state(
    changed: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    net = build_net("rvm", width=0.25, decoder_width=0.25, pretrained=False).eval()
    net.reset_parameters(0)
    net.get_parameter("matting_head.weight").data *= 0.05
    net.get_parameter("matting_head.bias").data[3] = 0.5  # alpha between the clamps
    write_onnx(tmp_path / "rvm.onnx", frame_graph(net), {})
    ours = copy.deepcopy(net)
    ours.get_parameter("matting_head.bias").data += changed
    monkeypatch.setattr(official, "load_official", lambda name, path: ours)
    sizes, eager = [parse_size("64x48@0.5")], [("fp32", "eager")]
    (table,) = benchmark_official("rvm", {}, tmp_path / "rvm.onnx", sizes, eager, torch.device("cpu"), 0, print, 4)
    row = table.iloc[0]
    assert (row["compared"], row["fp32_difference"]) == (4, 0)
    assert (row["official_difference"] < 1e-4) == (changed == 0)
    assert 0 <= row["official_mean"] <= row["official_difference"]
