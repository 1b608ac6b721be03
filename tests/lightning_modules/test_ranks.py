"""What two processes agree on, and what each draws for itself."""

from pathlib import Path

import torch

from lightning_modules import losses
from lightning_modules.ranks import generator_of_rank, mean_over_ranks
from tests.lightning_modules.processes import in_two_processes


def restored() -> tuple[torch.Tensor, ...]:
    """Arguments of the background's loss for two clips of which one has restored far more than the other."""
    draw = torch.Generator().manual_seed(0)
    pred, background = 2 * torch.rand(2, 3, 4, 4, generator=draw) - 1, torch.rand(2, 3, 16, 16, generator=draw)
    where = (torch.rand(2, 1, 4, 4, generator=draw) < torch.tensor([0.1, 0.9])[:, None, None, None]).float()
    return pred, background, torch.rand(2, 1, 16, 16, generator=draw) > 0.9, where


def share(rank: int) -> dict[str, torch.Tensor]:
    return {
        "mean": mean_over_ranks(torch.tensor([1.0 + rank, 10.0])),
        "loss": mean_over_ranks(losses.background_loss(*(part[rank : rank + 1] for part in restored()))),
        "draw": torch.rand(3, generator=generator_of_rank(torch.Generator().manual_seed(7))),
    }


def test_two_processes_agree_on_means_and_draw_for_themselves(tmp_path: Path) -> None:
    first, second = in_two_processes(share, tmp_path)
    assert first["mean"].tolist() == second["mean"].tolist() == [1.5, 10.0]
    torch.testing.assert_close(first["loss"], losses.background_loss(*restored()))
    assert torch.equal(first["draw"], torch.rand(3, generator=torch.Generator().manual_seed(7)))
    assert not torch.isclose(first["draw"], second["draw"]).any()


def test_alone_the_mean_is_the_value_itself() -> None:
    value = torch.tensor(2.0, requires_grad=True)
    assert mean_over_ranks(value).item() == 2.0
    assert not mean_over_ranks(value).requires_grad
