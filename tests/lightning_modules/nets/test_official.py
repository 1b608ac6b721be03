"""Official MODNet weights: a state dict made up under the published key layout, and figures of the official code."""

import math

import pytest
import torch

from lightning_modules.nets import build_net
from lightning_modules.nets.official import OFFICIAL, load_official
from tests.lightning_modules.nets.torchscript import exported

# Expansion, channels in and out of the inverted residuals 1 … 17.
RESIDUALS = [
    (1, 32, 16),
    (6, 16, 24),
    (6, 24, 24),
    (6, 24, 32),
    *[(6, 32, 32)] * 2,
    (6, 32, 64),
    *[(6, 64, 64)] * 3,
    (6, 64, 96),
    *[(6, 96, 96)] * 2,
    (6, 96, 160),
    *[(6, 160, 160)] * 2,
    (6, 160, 320),
]
# Channels in and out, kernel size.
CONV_BLOCKS = {
    "lr_branch.conv_lr16x": (1280, 96, 5),
    "lr_branch.conv_lr8x": (96, 32, 5),
    "hr_branch.tohr_enc2x": (16, 32, 1),
    "hr_branch.conv_enc2x": (35, 32, 3),
    "hr_branch.tohr_enc4x": (24, 32, 1),
    "hr_branch.conv_enc4x": (64, 64, 3),
    "hr_branch.conv_hr4x.0": (99, 64, 3),
    "hr_branch.conv_hr4x.1": (64, 64, 3),
    "hr_branch.conv_hr4x.2": (64, 32, 3),
    "hr_branch.conv_hr2x.0": (64, 64, 3),
    "hr_branch.conv_hr2x.1": (64, 32, 3),
    "hr_branch.conv_hr2x.2": (32, 32, 3),
    "hr_branch.conv_hr2x.3": (32, 32, 3),
    "hr_branch.conv_hr.0": (35, 32, 3),
    "f_branch.conv_lr4x": (32, 32, 5),
    "f_branch.conv_f2x": (64, 32, 3),
    "f_branch.conv_f.0": (35, 16, 3),
}
HEADS = {
    "lr_branch.conv_lr.layers.0": (32, 1, 3),
    "hr_branch.conv_hr.1.layers.0": (32, 1, 1),
    "f_branch.conv_f.1.layers.0": (16, 1, 1),
}


def made_up(shape, phase, scale=1.0, offset=0.0):
    """Numbers that look random and are the same on every machine."""
    index = torch.arange(math.prod(shape), dtype=torch.float64) + 1
    wave = torch.frac(torch.sin(index * 12.9898 + phase * 78.233) * 43758.5453) * scale + offset
    return wave.float().view(shape)


class OfficialWeights:
    """Collects tensors in the order of the published layout."""

    def __init__(self):
        self.tensors = {}

    def conv(self, name, shape, bias=True):
        bound = (6 / math.prod(shape[1:])) ** 0.5
        self.tensors[f"{name}.weight"] = made_up(shape, len(self.tensors), bound)
        if bias:
            self.tensors[f"{name}.bias"] = made_up(shape[:1], len(self.tensors), 0.1)

    def batch_norm(self, name, channels):
        for part, scale, offset in (("weight", 0.4, 1.0), ("bias", 0.2, 0.0), ("running_mean", 0.2, 0.0)):
            self.tensors[f"{name}.{part}"] = made_up((channels,), len(self.tensors), scale, offset)
        self.tensors[f"{name}.running_var"] = made_up((channels,), len(self.tensors), 0.4, 1.0)
        self.tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def conv_and_norm(self, conv, norm, shape):
        self.conv(conv, shape, bias=False)
        self.batch_norm(norm, shape[0])


def official_state_dict():
    """751 tensors with the prefix `module.`, 312 of them the backbone a second time."""
    weights = OfficialWeights()
    features = "backbone.model.features"
    weights.conv_and_norm(f"{features}.0.0", f"{features}.0.1", (32, 3, 3, 3))
    for layer, (expansion, channels, out) in enumerate(RESIDUALS, start=1):
        hidden = expansion * channels
        shapes = [(hidden, 1, 3, 3), (out, hidden, 1, 1)]
        if expansion > 1:
            shapes.insert(0, (hidden, channels, 1, 1))
        for i, shape in enumerate(shapes):
            conv = f"{features}.{layer}.conv"
            weights.conv_and_norm(f"{conv}.{3 * i}", f"{conv}.{3 * i + 1}", shape)
    weights.conv_and_norm(f"{features}.18.0", f"{features}.18.1", (1280, 320, 1, 1))
    weights.conv("lr_branch.se_block.fc.0", (320, 1280), bias=False)
    weights.conv("lr_branch.se_block.fc.2", (1280, 320), bias=False)
    for name, (channels, out, size) in CONV_BLOCKS.items():
        weights.conv(f"{name}.layers.0", (out, channels, size, size))
        weights.batch_norm(f"{name}.layers.1.bnorm", out // 2)
    for name, (channels, out, size) in HEADS.items():
        weights.conv(name, (out, channels, size, size))
    tensors = weights.tensors
    aliases = {f"lr_branch.{key}": value for key, value in tensors.items() if key.startswith("backbone.")}
    return {f"module.{key}": value for key, value in (tensors | aliases).items()}


@pytest.fixture(scope="module")
def state_dict():
    return official_state_dict()


def save(tensors, path):
    torch.save(tensors, path)
    return path


def test_layout_has_the_published_number_of_keys(state_dict):
    assert len(state_dict) == 751
    assert sum(key.startswith("module.lr_branch.backbone.") for key in state_dict) == 312


def test_outputs_are_those_of_the_official_code(state_dict, tmp_path):
    net = load_official("modnet", save(state_dict, tmp_path / "modnet.ckpt"))
    assert not net.training
    frames = (made_up((1, 1, 3, 64, 96), 3) + 1) / 2
    with torch.no_grad():
        out = net(frames)
    # Printed by the official modules with these weights and this frame.
    expected = {
        "semantic": [[0.482586, 0.304931, 0.299831], [0.449276, 0.697869, 0.596351]],
        "detail": [[0.630869, 0.883504, 0.777201], [0.658353, 0.621192, 0.663952]],
        "alpha": [[0.397833, 0.292499, 0.597066], [0.507981, 0.227163, 0.536020]],
    }
    got = {
        "semantic": out.aux["semantic"][0, 0, 0, :2, :3],
        "detail": out.aux["detail"][0, 0, 0, 7::30, 5::31],
        "alpha": out.alpha[0, 0, 0, 7::30, 5::31],
    }
    for name, values in expected.items():
        torch.testing.assert_close(got[name], torch.tensor(values), atol=1e-5, rtol=0)


def test_every_tensor_arrives_and_prefix_aliases_and_counters_may_be_absent(state_dict, tmp_path):
    whole = load_official("modnet", save(state_dict, tmp_path / "whole.ckpt")).state_dict()
    bare = {
        key.removeprefix("module."): value
        for key, value in state_dict.items()
        if "lr_branch.backbone" not in key and "num_batches" not in key
    }
    assert len(whole) == 439
    again = load_official("modnet", save(bare, tmp_path / "bare.ckpt")).state_dict()
    assert all(torch.equal(whole[key], again[key]) for key in whole if "num_batches" not in key)
    # The phases make all tensors differ: the same collection on both sides means that each has its place.
    fingerprint = sorted((tuple(v.shape), v.double().sum().item()) for k, v in bare.items())
    assert fingerprint == sorted((tuple(v.shape), v.double().sum().item()) for k, v in whole.items() if "num_" not in k)


def test_alias_unlike_its_twin_warns(state_dict, tmp_path):
    key = "module.lr_branch.backbone.model.features.0.0.weight"
    path = save(state_dict | {key: torch.zeros(32, 3, 3, 3)}, tmp_path / "odd.ckpt")
    with pytest.warns(UserWarning, match="features.0.0.weight unequal"):
        net = load_official("modnet", path)
    assert net.backbone.features[0][0].weight.any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_export_without_training_heads_is_read(state_dict, tmp_path):
    heads = ("lr_branch.conv_lr.", "hr_branch.conv_hr.")
    tensors = {key.removeprefix("module."): value for key, value in state_dict.items()}
    tensors = {key: value for key, value in tensors.items() if not key.startswith(heads)}
    path = str(tmp_path / "modnet.torchscript")
    torch.jit.script(exported(tensors)).save(path)
    net = load_official("modnet", path)
    whole = load_official("modnet", save(state_dict, tmp_path / "modnet.ckpt"))
    frames = torch.rand(1, 1, 3, 32, 64)
    with torch.no_grad():
        out = net(frames)
        assert torch.equal(out.alpha, whole(frames).alpha)
    assert out.aux == {}


@pytest.mark.slow
def test_what_does_not_fit_is_refused_in_one_line(state_dict, tmp_path):
    weight = "module.f_branch.conv_f2x.layers.0.weight"
    broken = {
        "unknown to this model": state_dict | {"module.f_branch.extra.weight": torch.zeros(1)},
        "no complete modnet checkpoint: fusion.conv_f2.conv.weight": {
            key: value for key, value in state_dict.items() if key != weight
        },
        "of another shape": state_dict | {weight: torch.zeros(3, 64, 3, 3)},
        "that the net has not": state_dict | {"module.f_branch.conv_f2x.layers.0.extra": torch.zeros(1)},
        "no state dict": {"state_dict": state_dict},
    }
    for message, tensors in broken.items():
        path = save(tensors, tmp_path / "broken.ckpt")
        with pytest.raises(ValueError, match=message) as error:
            load_official("modnet", path)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="there is no checkpoint"):
        load_official("modnet", tmp_path / "absent.ckpt")
    with pytest.raises(ValueError, match=r"'u2net'; there are: .*modnet"):
        load_official("u2net", tmp_path / "broken.ckpt")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"f_branch.conv_f.1.layers.0.bias": torch.full((1,), torch.nan)}, "fusion.head.bias not all finite numbers"),
        ({"f_branch.conv_f.1.layers.0.bias": torch.ones(1, dtype=torch.int64)}, "fusion.head.bias not all finite"),
        ({"f_branch.conv_f.1.layers.0.bias": torch.zeros(2)}, "fusion.head.bias of another shape"),
        ({"f_branch.conv_f.1.layers.0.bias": torch.zeros(())}, "fusion.head.bias of another shape"),
        ({"f_branch.extra.weight": torch.zeros(1)}, "holds f_branch.extra.weight unknown"),
    ],
)
def test_one_wrong_tensor_is_named_and_the_model_recognised(change, told, state_dict, tmp_path):
    path = tmp_path / "wrong.ckpt"
    torch.save({key.removeprefix("module."): value for key, value in state_dict.items()} | change, path)
    with pytest.raises(ValueError, match=told) as refused:
        load_official("modnet", path)
    assert str(path) in str(refused.value)
    assert "looks like what load_official('modnet', path) reads" in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "given", "options"),
    [
        ("rvm", "modnet", {}),
        ("modnet", "rvm", {"backbone": "resnet50"}),
        ("rvm", "rvm", {"backbone": "resnet50"}),
        ("modnet", "background_matting_v2", {"backbone": "mobilenetv2"}),
        ("background_matting_v2", "background_matting_v2", {"backbone": "resnet101"}),
    ],
)
def test_the_file_of_another_net_is_recognised(asked, given, options, state_dict, tmp_path):
    if given == "modnet":
        tensors = state_dict
    else:
        names = {ours: theirs for theirs, ours in OFFICIAL[given].names().items()}
        weights = build_net(given, **options).state_dict().items()
        parts = ((key.rpartition("."), value) for key, value in weights)
        tensors = {f"{names[module]}.{tensor}": value for (module, _, tensor), value in parts}
    path = tmp_path / "other.pth"
    torch.save(tensors, path)
    with pytest.raises(ValueError, match="looks like what load_official") as refused:
        load_official(asked, path)
    call = ", ".join([f"'{given}', path", *(f"{option}='{value}'" for option, value in options.items())])
    assert f"({call})" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_of_no_published_net_is_told_so(tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "mine.pth")
    with pytest.raises(ValueError, match="looks like none of the published modnet, rvm, background_matting_v2"):
        load_official("rvm", tmp_path / "mine.pth")
