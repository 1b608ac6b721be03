"""BackgroundMattingV2: figures of the official code, selection of cells, and windows against the whole picture."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.segmentation import deeplabv3_resnet50

from lightning_modules.nets import background_matting_refiner, build_net
from lightning_modules.nets.background_matting import BackgroundMattingV2
from lightning_modules.nets.background_matting_refiner import windows
from lightning_modules.nets.official import load_official, start_from_deeplabv3
from tests.lightning_modules.nets.torchscript import exported


def made_up(shape, phase, scale=1.0, offset=0.0):
    """Numbers that look random and are the same on every machine."""
    index = torch.arange(math.prod(shape), dtype=torch.float64) + 1
    wave = torch.frac(torch.sin(index * 12.9898 + phase * 78.233) * 43758.5453) * scale + offset
    return wave.float().view(shape)


def official_weights(**options):
    """Tensors under the published names, which are ours: a name that changes breaks the figures below."""
    made = {}
    for phase, (key, tensor) in enumerate(sorted(build_net("background_matting_v2", **options).state_dict().items())):
        kind = key.rpartition(".")[2]
        if kind == "num_batches_tracked":
            made[key] = torch.tensor(7)
        elif tensor.ndim == 4:
            made[key] = made_up(tensor.shape, phase, (6 / math.prod(tensor.shape[1:])) ** 0.5)
        elif kind in ("running_var", "weight"):
            made[key] = made_up(tensor.shape, phase, 0.4, 1.0)
        else:
            made[key] = made_up(tensor.shape, phase, 0.2)
    # The outputs then lie between their clamps.
    made["decoder.conv4.weight"] *= 0.1
    made["decoder.conv4.bias"] = made["decoder.conv4.bias"] * 0.1 + 0.3
    if "refiner.conv4.weight" in made:
        made["refiner.conv4.weight"] *= 0.1
        made["refiner.conv4.bias"] = torch.tensor([0.6, 0.0, 0.0, 0.0])
    return made


def pair(height=96, width=160, batch=1, frames=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, batch, frames, 3, height, width, generator=generator)


def small_net(**options):
    torch.manual_seed(0)
    net = BackgroundMattingV2(**{"backbone": "mobilenetv2", "width": 0.25, "backbone_scale": 0.5, **options}).eval()
    with torch.no_grad():
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.uniform_(-0.1, 0.1)
                norm.running_var.uniform_(0.6, 1.4)
        net.decoder.conv4.bias[4] = 0.2  # some of the error map is above 0
    return net


@pytest.mark.parametrize(
    ("backbone", "parameters", "entries", "encoder_entries"),
    [
        ("mobilenetv2", 5_006_839, 382, 306),
        ("resnet50", 40_247_703, 394, 318),
        ("resnet101", 59_239_831, 700, 624),
    ],
)
def test_parameters_and_entries_are_the_published_ones(backbone, parameters, entries, encoder_entries):
    with torch.device("meta"):
        net = build_net("background_matting_v2", backbone=backbone)
        base = build_net("background_matting_v2", backbone=backbone, refine_mode="none")
        pointwise = build_net("background_matting_v2", backbone=backbone, refine_kernel_size=1)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert sum(p.numel() for p in base.parameters()) == parameters - 15_444
    assert sum(p.numel() for p in pointwise.parameters()) == parameters - 15_444 + 1_812
    keys = list(net.state_dict())
    assert len(keys) == entries
    assert sum(key.startswith("backbone.") for key in keys) == encoder_entries
    assert sum(key.startswith(("aspp.", "decoder.", "refiner.")) for key in keys) == 36 + 20 + 20


# Printed by the official modules with these weights and this pair: means of alpha and foreground, then
# alpha and the green foreground at [7::40, 5::51].
OFFICIAL = {
    ("full", 3): (
        (0.568916, 0.493160),
        [0.531298, 0.591976, 0.576413, 0.553788, 0.549747, 0.614406, 0.532871, 0.611108, 0.579343, 0.539540],
        [0.655674, 0.264918, 0.645906, 0.114504, 0.259359, 0.778248, 0.441914, 0.090788, 0.438413, 0.548766],
    ),
    ("sampling", 3): (
        (0.409156, 0.667668),
        [0.365844, 0.333410, 0.362138, 0.297127, 0.249596, 0.614406, 0.532871, 0.297967, 0.279738, 0.539540],
        [0.907060, 0.684130, 0.945560, 0.385247, 0.644807, 0.778248, 0.441914, 0.360261, 0.813542, 0.548766],
    ),
    ("thresholding", 3): (
        (0.421651, 0.653465),
        [0.365844, 0.333410, 0.362138, 0.297127, 0.249596, 0.614406, 0.532871, 0.297967, 0.279738, 0.539540],
        [0.907060, 0.684130, 0.945560, 0.385247, 0.644807, 0.778248, 0.441914, 0.360261, 0.813542, 0.548766],
    ),
    ("full", 1): (
        (0.595558, 0.465614),
        [0.590069, 0.606235, 0.597865, 0.610336, 0.590154, 0.584305, 0.592320, 0.599357, 0.590975, 0.591971],
        [0.571380, 0.274368, 0.595630, 0.051736, 0.220092, 0.776641, 0.367597, 0.066040, 0.412751, 0.480859],
    ),
    ("sampling", 1): (
        (0.418306, 0.658225),
        [0.365844, 0.333410, 0.362138, 0.297127, 0.249596, 0.584305, 0.592320, 0.297967, 0.279738, 0.591971],
        [0.907060, 0.684130, 0.945560, 0.385247, 0.644807, 0.776641, 0.367597, 0.360261, 0.813542, 0.480859],
    ),
}
OFFICIAL_COARSE = [0.321005, 0.349227, 0.331830, 0.248125, 0.235500, 0.325461, 0.326644, 0.411746, 0.431796]
OFFICIAL_ERROR = [0.373359, 0.374240, 0.415537, 0.411957, 0.437227, 0.544860, 0.466622, 0.450835, 0.497706]
OFFICIAL_SHARE = {"full": 1.0, "sampling": 1 / 3, "thresholding": 0.3895833}


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory):
    """By the size of the refiner's kernel."""
    files = {kernel: tmp_path_factory.mktemp("weights") / f"{kernel}.pth" for kernel in (1, 3)}
    for kernel, path in files.items():
        torch.save(official_weights(backbone="mobilenetv2", refine_kernel_size=kernel), path)
    return files


@pytest.mark.parametrize("dense_share", [0.0, 1.0], ids=["whole picture", "windows"])
@pytest.mark.parametrize(("mode", "kernel"), OFFICIAL)
def test_outputs_are_those_of_the_official_code(mode, kernel, dense_share, weight_files, monkeypatch):
    monkeypatch.setattr(background_matting_refiner, "DENSE_SHARE", dense_share)
    options = {"backbone": "mobilenetv2", "refine_kernel_size": kernel}
    selection = {"refine_mode": mode, "refine_sample_pixels": 16 * 320, "refine_threshold": 0.45}
    net = load_official("background_matting_v2", weight_files[kernel], **options, **selection)
    frames, plate = ((made_up((1, 1, 3, 96, 160), phase) + 1) / 2 for phase in (3, 4))
    with torch.no_grad():
        out = net(frames, background=plate)
    means, alpha, green = OFFICIAL[mode, kernel]
    got = torch.stack((out.alpha.mean(), out.foreground.mean(), out.aux["refined_share"][0, 0]))
    torch.testing.assert_close(got, torch.tensor((*means, OFFICIAL_SHARE[mode])), atol=1e-6, rtol=0)
    for value, channel, expected in ((out.alpha, 0, alpha), (out.foreground, 1, green)):
        pixels = value[0, 0, channel, 7::40, 5::51].flatten()[: len(expected)]
        torch.testing.assert_close(pixels, torch.tensor(expected), atol=2e-6, rtol=0)
    for name, expected in (("coarse_alpha", OFFICIAL_COARSE), ("error_map", OFFICIAL_ERROR)):
        pixels = out.aux[name][0, 0, 0, 3::10, 2::13].flatten()
        torch.testing.assert_close(pixels, torch.tensor(expected), atol=2e-6, rtol=0)


@pytest.mark.slow
def test_weights_from_torchscript_and_of_the_base_network_alone(tmp_path):
    weights = official_weights(backbone="mobilenetv2")
    base = {key: value for key, value in weights.items() if not key.startswith("refiner.")}
    torch.save(base, tmp_path / "base.pth")
    torch.save(weights, tmp_path / "whole.pth")
    torch.jit.script(exported(weights)).save(str(tmp_path / "whole.torchscript"))
    options = {"backbone": "mobilenetv2"}
    whole = load_official("background_matting_v2", tmp_path / "whole.torchscript", **options).state_dict()
    assert all(torch.equal(whole[key], value) for key, value in weights.items() if "num_batches" not in key)
    alone = load_official("background_matting_v2", tmp_path / "base.pth", refine_mode="none", **options)
    again = load_official("background_matting_v2", tmp_path / "whole.pth", refine_mode="none", **options)
    assert set(alone.state_dict()) == set(again.state_dict()) == set(base)
    with pytest.raises(ValueError, match=r"base.pth is no complete background_matting_v2.*refiner.conv1.weight"):
        load_official("background_matting_v2", tmp_path / "base.pth", **options)
    with pytest.raises(ValueError, match=r"whole.pth is no complete.*backbone.conv1.weight"):
        load_official("background_matting_v2", tmp_path / "whole.pth", backbone="resnet50")


def test_half_precision_weights_load(tmp_path):
    weights = official_weights(backbone="mobilenetv2")
    halved = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    torch.save(halved, tmp_path / "half.pth")
    net = load_official("background_matting_v2", tmp_path / "half.pth", backbone="mobilenetv2")
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def resnet50_deeplab():
    torch.manual_seed(1)
    with torch.no_grad():
        return deeplabv3_resnet50(weights=None, weights_backbone=None).state_dict()


@pytest.mark.slow
def test_start_from_deeplabv3_of_either_origin(tmp_path):
    torchvision = resnet50_deeplab()
    vainf = {key.replace("classifier.0.", "classifier.classifier.0."): value for key, value in torchvision.items()}
    torch.save(torchvision, tmp_path / "torchvision.pth")
    torch.save({"model_state": vainf, "best_score": np.float64(0.7), "cur_itrs": 3}, tmp_path / "vainf.pth")
    net = build_net("background_matting_v2", backbone="resnet50", refine_mode="none")
    decoder = net.decoder.conv1.weight.clone()
    for name in ("torchvision", "vainf"):
        net.reset_parameters(2)
        taken = start_from_deeplabv3(net, tmp_path / f"{name}.pth")
        assert {key.partition(".")[0] for key in taken} == {"backbone", "aspp"}
        assert len(taken) == 318 + 36
        assert torch.equal(net.backbone.layer4[2].conv3.weight, torchvision["backbone.layer4.2.conv3.weight"])
        assert torch.equal(net.aspp.project[0].weight, torchvision["classifier.0.project.0.weight"])
        # A plate equal to the frame looks like the one picture that DeepLabV3 saw.
        stem = net.backbone.conv1.weight
        torch.testing.assert_close(stem[:, :3] + stem[:, 3:], torchvision["backbone.conv1.weight"])
    assert net.decoder.conv1.weight.shape == decoder.shape
    with pytest.raises(ValueError, match=r"torchvision.pth.*do not fit.*backbone.features"):
        start_from_deeplabv3(build_net("background_matting_v2", backbone="mobilenetv2"), tmp_path / "torchvision.pth")
    with pytest.raises(ValueError, match="only background_matting_v2"):
        start_from_deeplabv3(build_net("modnet"), tmp_path / "torchvision.pth")


def test_the_cut_mobilenet_of_vainf_has_a_place_for_every_layer():
    net = build_net("background_matting_v2", backbone="mobilenetv2", refine_mode="none")
    net.reset_parameters(1)
    wanted = {key: value for key, value in net.state_dict().items() if not key.startswith("decoder.")}
    theirs = {}
    for key, value in wanted.items():
        if key.startswith("backbone.features."):
            half = "low" if int(key.split(".")[2]) < 4 else "high"
            key = key.replace("features", f"{half}_level_features")
        theirs[key.replace("aspp.", "classifier.classifier.0.")] = value
    theirs["backbone.low_level_features.0.0.weight"] = theirs["backbone.low_level_features.0.0.weight"][:, :3]
    net.reset_parameters(2)
    assert net.load_deeplabv3(theirs) == sorted(wanted)
    assert torch.equal(net.backbone.features[17].conv[2].weight, wanted["backbone.features.17.conv.2.weight"])


def test_full_equals_thresholding_below_zero_and_sampling_all_pixels():
    frames, plate = pair(36, 52, batch=2)
    full = small_net(refine_mode="full")
    everywhere = {
        "thresholding": small_net(refine_mode="thresholding", refine_threshold=-1.0),
        "sampling": small_net(refine_sample_pixels=10**9, refine_prevent_oversampling=False),
        "share": small_net(refine_share=1.0, refine_prevent_oversampling=False),
    }
    with torch.no_grad():
        expected = full(frames, background=plate)
        for net in everywhere.values():
            net.load_state_dict(full.state_dict())
            out = net(frames, background=plate)
            assert out.aux["refined"].all()
            torch.testing.assert_close(out.alpha, expected.alpha, atol=1e-6, rtol=0)
            torch.testing.assert_close(out.foreground, expected.foreground, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_refined_cells_are_those_of_full_and_the_others_the_enlarged_coarse_matte(kernel, share):
    frames, plate = pair(64, 100, batch=2)
    net, full = (small_net(refine_kernel_size=kernel, refine_share=share, refine_mode=m) for m in ("sampling", "full"))
    full.load_state_dict(net.state_dict())
    with torch.no_grad():
        out, whole = (each(frames, background=plate) for each in (net, full))
    pixels = out.aux["refined"].repeat_interleave(4, -1).repeat_interleave(4, -2)
    coarse = F.interpolate(out.aux["coarse_alpha"][:, 0], (64, 100), mode="bilinear", align_corners=False)
    expected = torch.where(pixels, whole.alpha, coarse[:, None])
    torch.testing.assert_close(out.alpha, expected, atol=1e-6, rtol=0)
    assert 0 < pixels.float().mean() <= share + 0.01


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("chosen", "most"), [(5, 5), (5, 30), (0, 30), (1, 400), (300, 400)])
def test_cells_are_refined_the_same_where_no_shape_may_depend_on_their_number(kernel, chosen, most):
    net = small_net(refine_kernel_size=kernel)
    frames, plate = pair(64, 100, batch=2)
    images = torch.cat((frames[:, 0], plate[:, 0]), dim=1)
    cells = torch.zeros(2 * 16 * 25, dtype=torch.bool)
    cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))[:chosen]] = True
    cells = cells.view(2, 16, 25)
    with torch.no_grad():
        coarse = net.base(F.interpolate(images, scale_factor=0.25, mode="bilinear"))
        expected = net.refiner.at_cells(images, coarse, cells)
        found = net.refiner.at_most(images, coarse, cells, most)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_sampling_takes_the_largest_errors_of_each_frame_and_none_that_is_zero():
    net = small_net(refine_sample_pixels=16 * 5)
    error = torch.zeros(2, 1, 6, 7)
    error[0, 0].view(-1)[:20] = torch.linspace(0.1, 1, 20)
    error[1, 0, 2, 3] = 0.3
    chosen = net.select_cells(error, (6, 7))
    assert chosen.flatten(1).sum(1).tolist() == [5, 1]
    assert error[0, 0][chosen[0]].min() >= error[0, 0][~chosen[0]].max()
    assert bool(chosen[1, 2, 3])
    net.refine_prevent_oversampling = False
    assert net.select_cells(error, (6, 7)).flatten(1).sum(1).tolist() == [5, 5]
    assert not net.select_cells(error.requires_grad_(), (6, 7)).requires_grad


def test_without_an_error_the_matte_is_the_enlarged_coarse_one():
    net = small_net(refine_mode="thresholding", refine_threshold=1.0)
    frames, plate = pair(40, 72)
    with torch.no_grad():
        out = net(frames, background=plate)
    assert out.aux["refined_share"].tolist() == [[0.0]]
    coarse = F.interpolate(out.aux["coarse_alpha"][:, 0], (40, 72), mode="bilinear", align_corners=False)
    torch.testing.assert_close(out.alpha[:, 0], coarse, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "scale"), [((33, 71), 0.5), ((52, 36), 1 / 3), ((44, 132), 0.125), ((97, 64), 0.25)])
def test_odd_sizes_and_scales_that_are_not_whole(size, scale):
    net = small_net(backbone_scale=scale)
    frames, plate = pair(*size, batch=2, frames=2)
    with torch.no_grad():
        out = net(frames, background=plate)
    assert out.alpha.shape == (2, 2, 1, *size)
    assert out.foreground.shape == (2, 2, 3, *size)
    padded = [-(-side // 4) * 4 for side in size]
    assert out.aux["error_map"].shape[-2:] == tuple(int(side * scale) for side in padded)
    assert out.aux["refined"].shape[-2:] == tuple(side // 4 for side in padded)


def test_frames_are_independent_and_one_plate_serves_all():
    net = small_net()
    frames, plate = pair(40, 72, batch=2, frames=3)
    with torch.no_grad():
        whole = net(frames, background=plate[:, :1])
        for b in range(2):
            for t in range(3):
                one = net(frames[b : b + 1, t : t + 1], background=plate[b : b + 1, :1])
                torch.testing.assert_close(one.alpha[0, 0], whole.alpha[b, t], atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [None, (2, 2, 3, 64, 64), (1, 2, 3, 64, 32), (1, 3, 3, 64, 64), (2, 3, 64, 64)])
def test_a_missing_or_wrong_plate_is_refused_in_one_line(shape):
    plate = None if shape is None else torch.zeros(shape)
    with pytest.raises(ValueError, match="background") as error:
        small_net()(torch.zeros(1, 2, 3, 64, 64), background=plate)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "vgg"},
        {"refine_mode": "some"},
        {"refine_kernel_size": 5},
        {"backbone_scale": 0.7},
        {"backbone_scale": 0.0},
        {"refine_share": 1.5},
        {"width": 0.5, "pretrained": True},
        {"width": 0.5, "pretrained": True, "backbone": "mobilenetv2"},
    ],
)
def test_wrong_value_of_an_option_is_refused_in_one_line(options):
    with torch.device("meta"), pytest.raises(ValueError, match=r"must|needs") as error:
        build_net("background_matting_v2", **options)
    assert "\n" not in str(error.value)


def test_full_size_losses_reach_the_base_network_but_not_its_error_map():
    net = small_net(refine_share=0.5).train()
    frames, plate = pair(64, 96, batch=2)
    net(frames, background=plate).alpha.square().mean().backward()
    gradient = net.decoder.conv4.weight.grad
    assert not gradient[4].any()
    assert gradient[0].any()
    assert gradient[5:].any()
    assert net.backbone.features[0][0].weight.grad.any()


def test_the_base_network_alone_mattes_at_the_size_of_the_frame():
    net = small_net(refine_mode="none", backbone_scale=1.0)
    frames, plate = pair(36, 52)
    with torch.no_grad():
        out = net(frames, background=plate)
        coarse = net.base(torch.cat((frames[:, 0], plate[:, 0]), dim=1))
    torch.testing.assert_close(out.alpha[:, 0], coarse.alpha, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.foreground[:, 0], coarse.foreground, atol=1e-5, rtol=0)
    assert "refined" not in out.aux


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_windows_are_cut_from_the_padded_picture(margin):
    image = torch.rand(2, 5, 8, 12)
    cells = torch.tensor([[0, 0, 0], [1, 1, 2], [1, 3, 5], [0, 3, 0]])
    got = windows(image, cells, 2, margin)
    padded = F.pad(image, (margin,) * 4)
    side = 2 + 2 * margin
    expected = [padded[n, :, 2 * i : 2 * i + side, 2 * j : 2 * j + side] for n, i, j in cells.tolist()]
    assert torch.equal(got, torch.stack(expected))


def test_a_matte_below_zero_is_trained_only_with_the_inward_clamp():
    frames, plate = pair(64, 96, batch=2)
    for clamp_gradient, reached in (("inside", False), ("inward", True)):
        net = small_net(refine_mode="none", clamp_gradient=clamp_gradient).train()
        with torch.no_grad():
            net.decoder.conv4.bias[0] = -100.0
        out = net(frames, background=plate)
        assert not out.alpha.any()
        (1 - out.alpha).mean().backward()
        assert bool(net.decoder.conv4.weight.grad.any()) == reached
