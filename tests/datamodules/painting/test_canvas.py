import pytest
import torch
from torch import Tensor

from datamodules.painting.canvas import smear


def disc(x: float, y: float, radius: float, size: int = 48) -> Tensor:
    """(1, 4, size, size) a white disc with a soft edge, premultiplied."""
    at = torch.arange(float(size))
    distance = ((at[None, :] - x) ** 2 + (at[:, None] - y) ** 2).sqrt() - radius
    return (0.5 - distance).clamp(0, 1).expand(1, 4, size, size).clone()


def moving(way: tuple[float, float], x: float = 24, y: float = 24) -> Tensor:
    """(3, 1, 2, 2) two points round (x, y) that go `way` pixels while the shutter is open."""
    points = torch.tensor([[x, y - 4.0], [x, y + 4.0]])
    return torch.stack([points + share * torch.tensor(way) for share in (-0.5, 0.0, 0.5)])[:, None]


@pytest.mark.parametrize("way", [(1.0, 0.0), (9.0, 4.0), (-24.0, 0.0), (0.0, 30.0)])
def test_what_moves_far_is_one_piece_as_solid_as_the_time_it_was_there(way: tuple[float, float]) -> None:
    layer = disc(24, 24, 3)
    mass = layer[:, 3].sum()
    smear(layer, moving(way))
    assert layer[:, 3].sum() == pytest.approx(float(mass), rel=2e-3)
    # Along its way the disc is seen everywhere alike: no copies with gaps between them.
    shares = torch.linspace(-0.2, 0.2, 9)
    inside = torch.stack([layer[0, 3, round(24 + float(s) * way[1]), round(24 + float(s) * way[0])] for s in shares])
    length = (way[0] ** 2 + way[1] ** 2) ** 0.5
    assert inside.amin() > 0.85 * min(6 / length, 1)
    assert inside.amax() - inside.amin() < 0.2 * inside.amax()


def test_what_stands_still_stays_as_it_was_beside_a_frame_that_moves() -> None:
    layer = torch.cat([disc(24, 24, 3), disc(24, 24, 3)])
    smear(layer, torch.cat([moving((0.0, 0.0)), moving((12.0, 0.0))], dim=1))
    assert torch.equal(layer[:1], disc(24, 24, 3))
    assert not torch.equal(layer[1:], disc(24, 24, 3))


def test_what_turns_is_smeared_along_its_arc() -> None:
    layer = disc(34, 24, 3)  # 10 pixels off the point that it turns round
    points = [(0.0, -10.0), (10.0, 0.0), (0.0, 10.0)]
    smear(layer, torch.tensor([[[[24.0, 24.0], [24 + x, 24 + y]]] for x, y in points]))
    assert layer[0, 3, 24, 34] > 0.1
    assert layer[0, 3, 16:20, 28:32].max() > 0.1
    assert layer[0, 3, 28:32, 28:32].max() > 0.1
    assert layer[0, 3, :, :22].max() < 0.1


def test_what_the_edge_cuts_off_goes_on_beyond_it() -> None:
    layer = torch.zeros(1, 4, 48, 48)
    layer[:, :, 24:] = 1
    smear(layer, moving((0.0, 8.0)))
    assert layer[0, 3, -1].min() > 0.999
    assert 0.4 < float(layer[0, 3, 24, 24]) < 0.6
