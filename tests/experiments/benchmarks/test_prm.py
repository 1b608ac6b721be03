from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.benchmarks import prm
from experiments.benchmarks.prm import benchmark_prm, load_prm
from experiments.inference.saved_nets import save_net
from lightning_modules.nets import build_net


@pytest.mark.slow
def test_fewer_patches_are_refined_and_patches_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prm, "FRAMES", ((288, 512), (512, 288)))
    monkeypatch.setattr(prm, "WORKING_SIZE", 64)
    tables = list(benchmark_prm(load_prm(None), torch.device("cpu"), False, lambda text: None, rounds=1))
    assert [table["frame"][0] for table in tables] == ["288 × 512", "512 × 288"]
    for table in tables:
        assert 0 < table["refined_share"][0] < 1
        assert table["seam"][0] < 1e-5


def test_a_net_without_patch_refinement_is_named(tmp_path: Path) -> None:
    model = {"name": "modnet_v", "prm": False, "pretrained": False}
    save_net(tmp_path / "model.pt", build_net("modnet_v", prm=False), model)
    with pytest.raises(ValueError, match="no patch refinement"):
        load_prm(tmp_path / "model.pt")
