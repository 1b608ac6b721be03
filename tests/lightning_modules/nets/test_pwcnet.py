import pytest
import torch

from lightning_modules.nets import build_net
from lightning_modules.nets.flow import build_flow
from lightning_modules.nets.pwcnet import PWCNet, cost_volume, load_pwcnet


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return PWCNet().eval()


@pytest.mark.parametrize(("height", "width", "radius"), [(5, 7, 4), (11, 9, 2), (1, 1, 4)])
def test_cost_volume_is_the_mean_product_with_each_neighbour(height, width, radius):
    a, b = torch.randn(2, 2, 3, height, width).unbind(0)
    costs = cost_volume(a, b, radius)
    side = 2 * radius + 1
    assert costs.shape == (2, side**2, height, width)
    for y, x, dy, dx in torch.cartesian_prod(
        torch.arange(height), torch.arange(width), torch.arange(-radius, radius + 1), torch.arange(-radius, radius + 1)
    ).tolist():
        value = costs[:, (dy + radius) * side + dx + radius, y, x]
        inside = 0 <= y + dy < height and 0 <= x + dx < width
        expected = (a[:, :, y, x] * b[:, :, y + dy, x + dx]).mean(1) if inside else torch.zeros(2)
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)


def test_cost_volume_peaks_at_the_shift():
    b = torch.nn.functional.normalize(torch.randn(1, 64, 20, 24), dim=1)
    a = torch.roll(b, (2, -3), dims=(2, 3))  # what is at p in a is at p + (dx, dy) = p + (3, −2) in b
    best = cost_volume(a, b)[..., 6:-6, 6:-6].argmax(1)
    assert (best == (4 - 2) * 9 + 4 + 3).all()


def test_cost_volume_has_the_gradient_of_the_maths():
    a, b = (torch.randn(1, 2, 3, 9, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: cost_volume(a, b, 2), (a, b))


def test_it_has_the_published_number_of_parameters(net):
    assert sum(p.numel() for p in net.parameters()) == 9_374_274
    assert len(list(net.parameters())) == 126
    assert sum(p.numel() for p in net.context.parameters()) == 1_131_266


def test_flow_is_a_quarter_of_the_size(net):
    with torch.no_grad():
        assert net(*torch.rand(2, 1, 3, 64, 128)).shape == (1, 2, 16, 32)


def published_keys():
    """Names as in the authors' file: the pyramid's layers in order of execution."""
    names = {f"conv{level}{part}.0": (i, level) for level in range(1, 6) for i, part in enumerate(("a", "aa", "b"))}
    return {**names, "conv6aa.0": (0, 6), "conv6a.0": (1, 6), "conv6b.0": (2, 6)}


def published(net):
    """State dict under the authors' names, written independently of the table."""
    state, tensors = net.state_dict(), {}
    for name, (i, level) in published_keys().items():
        for kind in ("weight", "bias"):
            tensors[f"{name}.{kind}"] = state[f"pyramid.{level}.{i}.0.{kind}"]
    for kind in ("weight", "bias"):
        for level in range(2, 7):
            for i in range(5):
                tensors[f"conv{level}_{i}.0.{kind}"] = state[f"estimators.{level}.convs.{i}.0.{kind}"]
            tensors[f"predict_flow{level}.{kind}"] = state[f"estimators.{level}.predict.{kind}"]
            if level > 2:
                tensors[f"deconv{level}.{kind}"] = state[f"estimators.{level}.up_flow.{kind}"]
                tensors[f"upfeat{level}.{kind}"] = state[f"estimators.{level}.up_features.{kind}"]
        for i in range(6):
            tensors[f"dc_conv{i + 1}.0.{kind}"] = state[f"context.{i}.0.{kind}"]
        tensors[f"dc_conv7.{kind}"] = state[f"context.6.{kind}"]
    return tensors


@pytest.mark.parametrize("wrap", [dict, lambda tensors: {"state_dict": tensors}], ids=["authors", "ptlflow"])
def test_published_weights_load_by_the_key_table(net, wrap, tmp_path):
    tensors = published(net) | {"deconv2.weight": torch.zeros(2, 2, 4, 4), "deconv2.bias": torch.zeros(2)}
    torch.save(wrap(tensors), tmp_path / "pwc_net.pth.tar")
    other = PWCNet().eval()
    load_pwcnet(other, tmp_path / "pwc_net.pth.tar")
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in other.state_dict().items())


def test_pretrained_reads_the_file_it_is_given_after_the_start_weights_are_drawn(net, tmp_path):
    torch.save(published(net), tmp_path / "pwc.pt")
    options = {"weights": str(tmp_path / "pwc.pt")}
    flow = build_flow("pwcnet", **options)
    flow.load_pretrained()
    assert torch.equal(flow.net.context[6].weight, net.context[6].weight)
    matting = build_net("context_motion", backbone="mobilenetv2", width=0.5, flow_options=options)
    assert not torch.equal(matting.flow.net.context[6].weight, net.context[6].weight)
    with pytest.raises(ValueError, match=r"give model\.flow_options\.weights=FILE"):
        build_flow("pwcnet").load_pretrained()


def test_other_weights_are_refused_in_one_line(net, tmp_path):
    tensors = published(net)
    tensors.pop("conv3_2.0.weight")
    torch.save(tensors, tmp_path / "cut.pt")
    with pytest.raises(ValueError, match=r"no PWC-Net checkpoint: estimators.3.convs.2.0.weight missing"):
        load_pwcnet(PWCNet(), tmp_path / "cut.pt")
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"layer.weight unknown"):
        load_pwcnet(PWCNet(), tmp_path / "other.pt")
