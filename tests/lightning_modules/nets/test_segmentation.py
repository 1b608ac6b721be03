"""The segmentation baselines."""

import pytest
import torch
from torchvision.models import get_model

from lightning_modules.nets import build_net
from lightning_modules.nets.official import load_official

CASES = [
    pytest.param("deeplabv3", {"backbone": "mobilenetv3"}, id="deeplabv3"),
    pytest.param("lraspp", {}, id="lraspp"),
]


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("deeplabv3", {}, 58_630_997),
        ("deeplabv3", {"backbone": "resnet50"}, 39_638_869),
        ("deeplabv3", {"backbone": "mobilenetv3"}, 11_025_477),
        ("lraspp", {}, 3_221_538),
    ],
)
def test_parameters_are_torchvisions_without_the_auxiliary_head(name, options, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in build_net(name, **options).parameters()) == parameters


@pytest.mark.parametrize(("name", "options"), CASES)
def test_alpha_is_the_person_above_the_threshold(name, options):
    net = build_net(name, threshold=None, **options)
    frames = torch.rand(1, 2, 3, 48, 70)
    with torch.no_grad():
        for norm in net.modules():
            norm.momentum = 1.0
        net(frames)  # without statistics, an untrained net says the same everywhere
        net.eval()
        soft = net(frames)
        scores = net.model((frames[0] - net.mean) / net.deviation)["out"]
        torch.testing.assert_close(soft.alpha[0, :, 0], scores.softmax(dim=1)[:, 15], atol=1e-5, rtol=0)
        net.threshold = float(soft.alpha.min() + soft.alpha.max()) / 2
        hard = net(frames).alpha
        assert torch.equal(hard, (soft.alpha > net.threshold).float())
        assert 0 < hard.mean() < 1
        assert net.train()(frames).alpha.unique().numel() > 2


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="backbone must be one of resnet101, resnet50, mobilenetv3"):
        build_net("deeplabv3", backbone="vgg")
    with pytest.raises(ValueError, match="threshold must be"):
        build_net("lraspp", threshold=1.0)


@pytest.mark.parametrize(
    ("name", "options", "architecture", "auxiliary"),
    [
        pytest.param("deeplabv3", {"backbone": "mobilenetv3"}, "deeplabv3_mobilenet_v3_large", True, id="deeplabv3"),
        pytest.param("lraspp", {}, "lraspp_mobilenet_v3_large", False, id="lraspp"),
    ],
)
def test_torchvisions_files_are_read_without_the_auxiliary_head(name, options, architecture, auxiliary, tmp_path):
    second_head = {"aux_loss": True} if auxiliary else {}
    with torch.device("meta"):
        theirs = get_model(architecture, weights=None, weights_backbone=None, num_classes=21, **second_head)
    state = {
        key: torch.full(value.shape, number, dtype=value.dtype)
        for number, (key, value) in enumerate(theirs.state_dict().items())
    }
    assert any(key.startswith("aux_classifier.") for key in state) == auxiliary
    torch.save(state, tmp_path / "net.pth")
    net = load_official(name, tmp_path / "net.pth", **options)
    assert not net.training
    for key, value in net.model.state_dict().items():
        assert torch.equal(value, state[key])
