"""RVM's published weights: tensors made by a formula under the published names, and figures of the official code."""

import math

import pytest
import torch

from lightning_modules.nets import build_net
from lightning_modules.nets.blocks import scale
from lightning_modules.nets.official import OFFICIAL, load_official

# Tensor | shape | mean and population deviation | samples. A: 1 × 3 × 101 × 157, ratio 1; B: 2 × 2 × 203 × 310,
# ratio 0.375; C: as B with the fast guided filter.
VECTORS = {
    "mobilenetv3": """
    A f1 | 1,3,16,51,79 | 0.208505 0.814697 | 1.380278 0.743063 0.990150 0.230098 -0.019974 -0.341670
    A f2 | 1,3,24,26,40 | 0.022974 0.977021 | -0.802931 0.193036 -0.614602 -1.147543 -0.790818 -0.184601
    A f3 | 1,3,40,13,20 | -0.004089 0.317449 | 0.586887 0.117349 0.566368 0.371380 0.350435 0.324153
    A f4 | 1,3,960,7,10 | 0.003123 0.088440 | -0.019893 -0.076566 -0.020433 -0.058081 -0.057970 0.007670
    A aspp | 1,3,128,7,10 | 0.028946 0.038599 | 0 0.019830 0 0.056080 0.056209 0
    A foreground | 1,3,3,101,157 | 0.520593 0.263775 | 0.469318 0.069593 0.442301 0.811887 0.690803 0.809737
    A alpha | 1,3,1,101,157 | 0.526980 0.048742 | 0.468689 0.445891 0.471289 0.548738 0.568956 0.553380
    A segmentation | 1,3,1,101,157 | 0.168105 0.045109 | 0.107560 0.124600 0.106432 0.167428 0.157414 0.153113
    A r1 | 1,16,51,79 | 0.017008 0.174147 | -0.035012 0.266075 0.098982 0.006561 -0.175190 -0.060978
    A r2 | 1,20,26,40 | -0.016139 0.164772 | 0.087080 0.100012 -0.285534 -0.101082 -0.150359 0.104779
    A r3 | 1,40,13,20 | -0.007780 0.101331 | 0.004557 -0.265588 0.117530 -0.028582 -0.082214 0.004730
    A r4 | 1,64,7,10 | 0.007563 0.053993 | -0.009023 -0.079979 0.071869 0.087807 0.111260 0.007701
    B small | 2,2,3,76,116 | 0.499523 0.248216 | 0.553872 0.907321 0.805301 0.805371 0.728179 0.765826
    B foreground | 2,2,3,203,310 | 0.506471 0.260745 | 0.494603 0.054413 0.815246 0.775350 0.760799 0.795268
    B alpha | 2,2,1,203,310 | 0.535148 0.040748 | 0.231470 0.381248 0.533778 0.233319 0.522137 0.281365
    B r1 | 2,16,38,58 | 0.022124 0.179193 | 0.052624 0.086762 0.025521 0.018600 0.044789 -0.027012
    B r4 | 2,64,5,8 | 0.006468 0.045059 | -0.010524 0.054064 -0.036946 -0.010535 -0.036906 0.002219
    C foreground | 2,2,3,203,310 | 0.507371 0.259932 | 0.477514 0.057710 0.796407 0.743353 0.737886 0.774058
    C alpha | 2,2,1,203,310 | 0.532657 0.028875 | 0.498546 0.419951 0.504931 0.543282 0.504418 0.649399
    """,
    "resnet50": """
    A f1 | 1,3,64,51,79 | 0.199472 0.350465 | 0 0 0 1.159137 0.899787 0.233863
    A f2 | 1,3,256,26,40 | 0.314448 0.371427 | 0.951756 0 0.841534 0.073827 0.110378 0.221318
    A f3 | 1,3,512,13,20 | 0.433409 0.498077 | 0 0.878221 0 0 0 0
    A f4 | 1,3,2048,7,10 | 0.732662 0.867096 | 0.602549 0.650293 0.600496 0.488507 0.455849 2.167256
    A aspp | 1,3,256,7,10 | 0.254296 0.397014 | 0.343861 0 0.319854 0.292466 0.282169 0
    A foreground | 1,3,3,101,157 | 0.522823 0.238269 | 0.521484 0.145418 0.511412 0.802456 0.702982 0.812396
    A alpha | 1,3,1,101,157 | 0.509014 0.047258 | 0.589450 0.571144 0.581715 0.452013 0.480282 0.449069
    A segmentation | 1,3,1,101,157 | -0.081664 0.036189 | -0.116752 -0.091070 -0.105317 -0.070375 -0.055708 -0.079509
    A r1 | 1,16,51,79 | 0.017231 0.086779 | -0.019752 -0.166742 -0.044331 0.039464 -0.097813 -0.098670
    A r2 | 1,32,26,40 | 0.005310 0.209432 | -0.001946 0.073964 -0.038015 0.032584 -0.099067 0.132564
    A r3 | 1,64,13,20 | -0.033632 0.218942 | 0.158183 0.113327 -0.224124 -0.179135 -0.455649 -0.102607
    A r4 | 1,128,7,10 | 0.037065 0.264886 | -0.115420 0.269991 -0.052333 0.023663 0.444350 -0.380299
    B foreground | 2,2,3,203,310 | 0.521475 0.240783 | 0.546934 0.037178 0.823676 0.812400 0.777048 0.813866
    B alpha | 2,2,1,203,310 | 0.479444 0.049925 | 0.166608 0.321390 0.511807 0.169049 0.470600 0.189742
    B r1 | 2,16,38,58 | 0.009806 0.074202 | -0.033474 0.082473 0.033114 -0.025946 0.050599 -0.115216
    B r4 | 2,128,5,8 | 0.029258 0.227754 | -0.104154 0.073991 0.437524 -0.103095 0.429517 -0.401961
    C foreground | 2,2,3,203,310 | 0.524573 0.231476 | 0.577997 0.054869 0.747288 0.859208 0.683764 0.827818
    C alpha | 2,2,1,203,310 | 0.519195 0.041352 | 0.528650 0.387578 0.526563 0.588769 0.494081 0.571140
    """,
}


def made_up(name, shape, index):
    """Numbers between −1 and 1 of the tensor at this place among the sorted names, scaled to what it is for."""
    i = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    wave = torch.sin(12.9898 * i + 78.233 * (index + 1)) * 43758.5453
    u = (wave - wave.floor()).view(shape)
    if name.endswith("running_var"):
        return 0.5 + u
    if name == "refiner.box_filter.weight":
        return 1 / 9 + 0.02 * (2 * u - 1)
    if len(shape) == 4:
        return (2 * u - 1) * math.sqrt(3 / math.prod(shape[1:]))
    if name.endswith(".weight"):
        return 0.8 + 0.4 * u
    values = 0.2 * (u - 0.5)
    if name == "project_mat.conv.bias":
        values[3] += 0.5
    return values


def official_state_dict(backbone):
    """All tensors under the published names, with their counters of batches."""
    with torch.device("meta"):
        ours = build_net("rvm", backbone=backbone).state_dict()
    theirs = {name: official for official, name in OFFICIAL["rvm"].names().items()}
    shapes = {}
    for key, tensor in ours.items():
        module, _, parameter = key.rpartition(".")
        shapes[f"{theirs[module]}.{parameter}"] = tensor.shape
    names = sorted(name for name in shapes if not name.endswith("num_batches_tracked"))
    tensors = {name: made_up(name, shapes[name], index).float() for index, name in enumerate(names)}
    return tensors | {name: torch.tensor(7) for name in shapes if name.endswith("num_batches_tracked")}


def wave_clip(B, T, H, W):
    """The input of the figures above."""
    b, t, c, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (B, T, 3, H, W)), indexing="ij")
    slow = torch.sin(0.11 * x + 0.07 * y + 1.3 * c + 0.4 * t + 0.9 * b)
    fast = torch.sin(0.31 * x - 0.23 * y + 0.7 * c - 0.5 * t + 0.3 * b)
    return (0.5 + 0.25 * slow + 0.25 * fast).float()


@pytest.fixture(scope="module", params=["mobilenetv3", "resnet50"])
def backbone(request):
    return request.param


@pytest.fixture(scope="module")
def path(backbone, tmp_path_factory):
    """A state dict as it is published."""
    path = tmp_path_factory.mktemp("rvm") / f"rvm_{backbone}.pth"
    torch.save(official_state_dict(backbone), path)
    return path


@pytest.fixture(scope="module")
def net(path, backbone):
    return load_official("rvm", path, backbone=backbone)


@pytest.fixture(scope="module")
def fast_net(path, backbone):
    return load_official("rvm", path, backbone=backbone, refiner="fast_guided_filter")


def test_layout_is_the_published_one(path, backbone):
    tensors = torch.load(path, weights_only=True)
    names = sorted(name for name in tensors if not name.endswith("num_batches_tracked"))
    size, place, first = {
        "mobilenetv3": (380, 287, [-0.02728399, -0.02120841, 0.05577575]),
        "resnet50": (390, 290, [-0.00886656, 0.00587120, 0.02893472]),
    }[backbone]
    assert len(tensors) == size
    assert names.index("decoder.decode2.conv.0.weight") == place
    assert len([name for name in names if name.startswith("refiner.")]) == 13
    torch.testing.assert_close(tensors[names[place]].flatten()[:3], torch.tensor(first), atol=1e-8, rtol=0)


@torch.no_grad()
def outputs(net, fast_net):
    """Every tensor of the tables by its name."""
    clip = wave_clip(1, 3, 101, 157)
    assert clip.mean().item() == pytest.approx(0.49911059, abs=1e-7)
    features = net.backbone(clip[0])
    maps = {f"A f{k}": feature[None] for k, feature in enumerate(features, start=1)}
    maps["A aspp"] = net.aspp(features[3])[None]
    maps["A segmentation"] = net(clip, segmentation_pass=True).aux["segmentation"]
    large = wave_clip(2, 2, 203, 310)
    maps["B small"] = scale(large.flatten(0, 1), 0.375).unflatten(0, (2, 2))
    for case, out in (
        ("A", net(clip)),
        ("B", net(large, downsample_ratio=0.375)),
        ("C", fast_net(large, downsample_ratio=0.375)),
    ):
        maps |= {f"{case} alpha": out.alpha, f"{case} foreground": out.foreground}
        maps |= {f"{case} {name}": memory for name, memory in out.state._asdict().items()}
    return maps


@pytest.mark.slow
def test_outputs_are_those_of_the_official_code(net, fast_net, backbone):
    maps = outputs(net, fast_net)
    for line in VECTORS[backbone].strip().splitlines():
        name, shape, moments, samples = (field.strip() for field in line.split("|"))
        got = maps[name]
        assert list(got.shape) == [int(n) for n in shape.split(",")], name
        mean, std = (float(number) for number in moments.split())
        assert got.mean().item() == pytest.approx(mean, abs=1e-5), name
        assert got.std(correction=0).item() == pytest.approx(std, abs=1e-5), name
        n = got.numel()
        places = [0, n // 7, n // 3, n // 2, 5 * n // 6, n - 1]
        expected = torch.tensor([float(number) for number in samples.split()])
        torch.testing.assert_close(
            got.reshape(-1)[places], expected, atol=2e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("ratio", [1, 0.375])
def test_chunks_with_the_state_carried_over_give_the_whole_clip(net, fast_net, ratio):
    clip = wave_clip(1, 3, 131, 157)
    for some_net in (net, fast_net):
        whole = some_net(clip, downsample_ratio=ratio)
        first = some_net(clip[:, :1], downsample_ratio=ratio)
        rest = some_net(clip[:, 1:], first.state, downsample_ratio=ratio)
        torch.testing.assert_close(torch.cat((first.alpha, rest.alpha), 1), whole.alpha, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            torch.cat((first.foreground, rest.foreground), 1), whole.foreground, atol=1e-5, rtol=0
        )
        for chunked, at_once in zip(rest.state, whole.state, strict=True):
            torch.testing.assert_close(chunked, at_once, atol=1e-5, rtol=0)


def test_every_tensor_arrives(path, net, fast_net):
    tensors = torch.load(path, weights_only=True)
    # The formula makes all tensors differ: the same collection on both sides means that each has its place.
    fingerprint = sorted((tuple(v.shape), v.double().sum().item()) for v in tensors.values())
    assert fingerprint == sorted((tuple(v.shape), v.double().sum().item()) for v in net.state_dict().values())
    assert fast_net.refiner is None


class Exported(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("backbone", ["mobilenetv3"], indirect=True)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_in_half_precision_is_read(path, net, backbone, tmp_path):
    root = Exported()
    for key, value in torch.load(path, weights_only=True).items():
        *modules, name = key.split(".")
        module = root
        for part in modules:
            if part not in dict(module.named_children()):
                module.add_module(part, Exported())
            module = module.get_submodule(part)
        module.register_buffer(name, value.half() if value.is_floating_point() else value)
    file = str(tmp_path / "rvm_fp16.torchscript")
    torch.jit.script(root).save(file)
    read = load_official("rvm", file, backbone=backbone)
    assert read.matting_head.weight.dtype == torch.float32
    torch.testing.assert_close(read.matting_head.weight, net.matting_head.weight, atol=1e-3, rtol=0)


@pytest.mark.parametrize("backbone", ["mobilenetv3"], indirect=True)
def test_what_does_not_fit_is_refused_in_one_line(path, backbone, tmp_path):
    tensors = torch.load(path, weights_only=True)
    broken = {
        "aspp.aspp3.weight unknown to this model": tensors | {"aspp.aspp3.weight": torch.zeros(1)},
        "no complete rvm checkpoint: aspp.conv.weight missing": {
            key: value for key, value in tensors.items() if key != "aspp.aspp1.0.weight"
        },
        "matting_head.bias of another shape": tensors | {"project_mat.conv.bias": torch.zeros(5)},
    }
    for message, some in broken.items():
        torch.save(some, tmp_path / "broken.pth")
        with pytest.raises(ValueError, match=message) as error:
            load_official("rvm", tmp_path / "broken.pth", backbone=backbone)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no complete rvm checkpoint: backbone"):
        load_official("rvm", path, backbone="resnet50")


@pytest.mark.parametrize("backbone", ["mobilenetv3"], indirect=True)
@torch.no_grad()
def test_a_file_without_segmentation_head_gives_the_mattes_of_the_whole_one(path, net, tmp_path):
    weights = torch.load(path, weights_only=True)
    torch.save({key: value for key, value in weights.items() if "project_seg" not in key}, tmp_path / "matte.pth")
    matte = load_official("rvm", tmp_path / "matte.pth")
    frames = torch.rand(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert net(frames).alpha.equal(matte(frames).alpha)
    with pytest.raises(ValueError, match="no segmentation head"):
        matte(frames, segmentation_pass=True)
