import pytest
import torch
from torchvision.models import mobilenet_v2

from lightning_modules.nets.backbones import MobileNetV2


@pytest.mark.parametrize("width", [0.5, 0.75, 1.0, 1.4])
def test_layers_and_names_are_those_of_torchvision(width):
    theirs = mobilenet_v2(width_mult=width).features.eval()
    ours = MobileNetV2(width).eval()
    ours.features.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, 0, 19), theirs(x))


def test_strides_end_where_the_docstring_says():
    net = MobileNetV2().eval()
    x = torch.rand(1, 3, 64, 96)
    for stride, layer in ((2, 1), (4, 3), (8, 6), (16, 13), (32, 18)):
        with torch.no_grad():
            shape = net(x, 0, layer + 1).shape
        assert shape == (1, net.channels[layer], 64 // stride, 96 // stride)


def test_shorter_encoder_has_542528_parameters():
    assert sum(p.numel() for p in MobileNetV2(num_layers=14).parameters()) == 542_528
