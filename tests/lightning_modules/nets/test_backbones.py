import pytest
import torch
from torchvision.models import mobilenet_v2, mobilenet_v3_large, resnet50, resnet101
from torchvision.transforms.functional import normalize

from lightning_modules.nets.backbones import MobileNetV2, MobileNetV3, ResNet, spread_stem


@pytest.mark.parametrize("width", [0.5, 0.75, 1.0, 1.4])
def test_layers_and_names_are_those_of_torchvision(width):
    theirs = mobilenet_v2(width_mult=width).features.eval()
    ours = MobileNetV2(width).eval()
    ours.features.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours.run(x, 0, 19), theirs(x))


def test_strides_end_where_the_docstring_says():
    net = MobileNetV2().eval()
    x = torch.rand(1, 3, 64, 96)
    for stride, layer in ((2, 1), (4, 3), (8, 6), (16, 13), (32, 18)):
        with torch.no_grad():
            shape = net.run(x, 0, layer + 1).shape
        assert shape == (1, net.layer_channels[layer], 64 // stride, 96 // stride)


def test_shorter_encoder_has_542528_parameters():
    assert sum(p.numel() for p in MobileNetV2(num_layers=14).parameters()) == 542_528


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_mobilenetv3_is_torchvisions_dilated_one_on_normalised_frames(width):
    theirs = mobilenet_v3_large(width_mult=width, dilated=True).features.eval()
    ours = MobileNetV3(width).eval()
    ours.features.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 67, 101)
    with torch.no_grad():
        features = ours(x)
        deepest = theirs(normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    torch.testing.assert_close(features[-1], deepest, atol=1e-5, rtol=1e-5)
    assert [f.shape[1] for f in features] == ours.channels
    assert [tuple(f.shape[2:]) for f in features] == [(34, 51), (17, 26), (9, 13), (5, 7)]


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "theirs"), [(50, resnet50), (101, resnet101)])
def test_resnet_is_torchvisions_dilated_one(depth, theirs):
    theirs = theirs(replace_stride_with_dilation=[False, False, True]).eval().double()
    ours = ResNet(depth).eval().double()
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if not key.startswith("fc.")})
    theirs.avgpool = theirs.fc = torch.nn.Identity()
    x = torch.rand(1, 3, 67, 69, dtype=torch.float64)
    with torch.no_grad():
        features = ours(x)
        torch.testing.assert_close(features[-1].flatten(1), theirs(x))
    assert [f.shape[1] for f in features] == ours.channels == [64, 256, 512, 2048]
    assert [tuple(f.shape[2:]) for f in features] == [(34, 35), (17, 18), (9, 9), (5, 5)]


@pytest.mark.parametrize("net", [MobileNetV2, MobileNetV3, ResNet])
def test_imagenet_weights_exist_at_width_1_alone(net):
    with pytest.raises(ValueError, match=r"needs width=1.0, got 0.5"):
        net(width=0.5).load_imagenet()


def test_dilated_mobilenetv2_stays_at_stride_16_and_sees_as_far():
    net, plain = MobileNetV2(num_layers=18, in_channels=6, dilated=True).eval(), MobileNetV2(num_layers=18)
    assert net.features[0][0].in_channels == 6
    assert [net.features[layer].conv[1][0].dilation for layer in range(14, 18)] == [(1, 1), (2, 2), (2, 2), (2, 2)]
    assert [key for key, _ in net.named_parameters()] == [key for key, _ in plain.named_parameters()]
    with torch.no_grad():
        assert net.run(torch.rand(1, 6, 70, 96), 0, 18).shape == (1, 320, 5, 6)


@pytest.mark.parametrize(
    "encoder",
    [
        *(MobileNetV2(0.25), MobileNetV2(0.25, num_layers=14), MobileNetV2(0.25, num_layers=18, dilated=True)),
        *(MobileNetV3(0.25), ResNet(18, 0.25), ResNet(50, 0.25)),
    ],
    ids=["mobilenetv2", "shorter", "dilated", "mobilenetv3", "resnet18", "resnet50"],
)
def test_all_encoders_are_called_alike(encoder):
    with torch.no_grad():
        features = encoder.eval()(torch.rand(2, 3, 70, 96))
    assert [feature.shape[1] for feature in features] == encoder.channels
    sides = [(35, 48), (18, 24), (9, 12), (5, 6), (3, 3)]
    assert [tuple(feature.shape[2:]) for feature in features] == sides[: len(features)]
    assert len(features) == (5 if isinstance(encoder, MobileNetV2) and len(encoder.features) == 19 else 4)


def test_a_stem_for_two_pictures_sees_one_picture_twice_as_the_rgb_stem_sees_it():
    rgb, both = (torch.nn.Conv2d(channels, 4, 3, bias=False) for channels in (3, 6))
    both.weight = torch.nn.Parameter(spread_stem(rgb.weight, both))
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(both(torch.cat((x, x), dim=1)), rgb(x))
