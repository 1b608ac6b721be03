"""Scores with the state carried, emptied and of another clip."""

from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from torch import Tensor

from datamodules.batch import MattingBatch
from experiments.inference.streaming import Streaming
from experiments.scoring import memory
from experiments.scoring.evaluation import evaluate
from experiments.scoring.memory import evaluate_states
from lightning_modules.nets import build_net
from lightning_modules.nets.interface import MattingNet, MattingOutput
from tests.batches import tiny_batch

CPU = torch.device("cpu")


class Clip:
    """A `TestClip` of grey frames of one level, whose true matte is empty."""

    has_foreground, has_background = False, True

    def __init__(self, name: str, level: float, stratum: str = "static", num_frames: int = 3, side: int = 32) -> None:
        self.name, self.scene, self.stratum, self.key = name, "room", stratum, f"{stratum}/{name}"
        self.num_frames, self.size = num_frames, (side, side)
        self.frames = torch.full((1, num_frames, 3, side, side), level)

    def read(self, start: int, stop: int) -> MattingBatch:
        frames = self.frames[:, start:stop]
        return tiny_batch(torch.zeros_like(frames[:, :, :1]), frames, frames, clip=self.name, stratum=self.stratum)


class Seen(NamedTuple):
    """Nested, and in part nothing, as states of nets are."""

    level: Tensor
    nothing: None
    rest: tuple[Tensor]


class Rememberer(MattingNet):
    """Alpha is `weight` times the sum of the levels that it was shown before; frames are 0 in their own matte."""

    def __init__(self, weight: float = 1.0, tells: bool = True) -> None:
        super().__init__()
        self.weight, self.tells = weight, tells

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        assert not self.training
        assert background is not None
        level, alphas = (torch.zeros(len(frames)) if state is None else state.level), []
        for frame in frames.unbind(1):
            alphas.append((self.weight * level).view(-1, 1, 1, 1).expand(-1, 1, *frame.shape[2:]))
            level = level + frame[:, 0, 0, 0]
        state = Seen(level, None, (level,)) if self.tells else None
        return MattingOutput(torch.stack(alphas, dim=1), state=state)


def states_of(net: MattingNet, clips: list[Clip], **how: Any) -> pd.DataFrame:
    _, table = evaluate_states(net, clips, CPU, Streaming(**how))
    assert table is not None
    return table


def errors(table: pd.DataFrame, state: str, clip: str) -> list[float]:
    return table[(table["state"] == state) & (table["clip"] == clip)]["mad"].round(6).tolist()


def test_each_state_is_what_its_name_says() -> None:
    table = states_of(Rememberer(), [Clip("anna", 0.1), Clip("ben", 0.2), Clip("cleo", 0.3)])
    assert errors(table, "carried", "ben") == [0, 0.2, 0.4]
    assert errors(table, "emptied", "ben") == [0, 0, 0]
    assert errors(table, "foreign", "ben") == [0, 0.1, 0.2]
    assert errors(table, "foreign", "anna") == [0, 0.3, 0.6]
    assert set(table) == {"clip", "scene", "stratum", "frame", "mad", "mse", "dtssd", "state"}


def test_a_net_that_ignores_its_state_scores_the_same_to_the_last_bit() -> None:
    net = build_net("modnet_v", width=0.25, hidden=8, working_size=64, prm=False)
    net.reset_parameters(0)  # a fresh net does not see its memory
    draw = torch.Generator().manual_seed(0)
    clips = [Clip(name, 0.5) for name in ("anna", "ben", "cleo")]
    for clip in clips:
        clip.frames = torch.rand(clip.frames.shape, generator=draw)
    tables = {name: table.drop(columns="state") for name, table in states_of(net, clips).groupby("state")}
    for state in ("emptied", "foreign"):
        assert tables[state].reset_index(drop=True).equals(tables["carried"].reset_index(drop=True))
    torch.nn.init.ones_(net.brm.fuse_norm.weight)  # type: ignore[union-attr, arg-type]
    table = states_of(net, clips)
    assert not table[table["state"] == "emptied"]["mad"].equals(table[table["state"] == "carried"]["mad"])


def test_carried_is_what_the_whole_evaluation_scores() -> None:
    clips = [Clip("anna", 0.1), Clip("ben", 0.2)]
    expected = evaluate(Rememberer(), clips, CPU, Streaming(chunk=2))
    whole, table = evaluate_states(Rememberer(), clips, CPU, Streaming())
    pd.testing.assert_frame_equal(whole, expected)
    assert table is not None
    carried = table[table["state"] == "carried"].reset_index(drop=True)
    pd.testing.assert_frame_equal(carried.drop(columns="state"), whole[carried.columns.drop("state")])


def test_one_frame_delay_smooths_the_mattes_of_each_state() -> None:
    clips, how = [Clip("anna", 0.1), Clip("ben", 0.2)], Streaming(one_frame_delay=True)
    whole, table = evaluate_states(Rememberer(), clips, CPU, how)
    pd.testing.assert_frame_equal(whole, evaluate(Rememberer(), clips, CPU, how))
    assert table is not None
    alone = evaluate(Rememberer(), clips, CPU, Streaming(one_frame_delay=True, recurrence=False))
    emptied = table[table["state"] == "emptied"].reset_index(drop=True)
    pd.testing.assert_series_equal(emptied["mad"], alone["mad"])


@pytest.mark.parametrize("at_once", [8, 2])
def test_the_order_of_clips_does_not_matter(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(memory, "CLIPS_AT_ONCE", at_once)
    clips = [Clip(name, 0.02 * place, stratum) for stratum in ("fast", "static") for place, name in enumerate("abcde")]
    assert states_of(Rememberer(), clips).equals(states_of(Rememberer(), clips[::-1]))


def test_clips_of_another_size_or_length_lend_no_state_and_one_alone_has_none_of_others() -> None:
    clips = [Clip("anna", 0.1), Clip("ben", 0.2), Clip("cleo", 0.3, num_frames=2), Clip("dora", 0.4, side=48)]
    table = states_of(Rememberer(), clips)
    assert errors(table, "foreign", "ben") == [0, 0.1, 0.2]
    assert errors(table, "foreign", "cleo") == errors(table, "foreign", "dora") == []
    assert errors(table, "carried", "dora") == [0, 0.4, 0.8]


@pytest.mark.parametrize(("net", "recurrence"), [(Rememberer(tells=False), True), (Rememberer(), False)])
def test_nothing_is_measured_where_nothing_is_carried(net: MattingNet, recurrence: bool) -> None:
    clips, how = [Clip("anna", 0.1), Clip("ben", 0.2)], Streaming(recurrence=recurrence)
    whole, table = evaluate_states(net.train(), clips, CPU, how)
    assert table is None
    assert net.training
    pd.testing.assert_frame_equal(whole, evaluate(net, clips, CPU, how))


def test_a_state_that_is_emptied_every_few_frames_is_lent_as_it_is() -> None:
    table = states_of(Rememberer(), [Clip("anna", 0.1, num_frames=4), Clip("ben", 0.2, num_frames=4)], recurrence=2)
    assert errors(table, "carried", "ben") == [0, 0.2, 0, 0.2]
    assert errors(table, "foreign", "ben") == [0, 0.1, 0, 0.1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rvm", {"width": 0.25, "decoder_width": 0.25}),
        ("context_motion", {"backbone": "mobilenetv2", "width": 0.25, "flow": "none", "operator": "gru",
                            "context_channels": 16, "hidden": 8, "decoder_channels": 8}),
        ("modnet_flow", {"width": 0.25, "hidden": 8, "flow": "none"}),
        ("modnet_v", {"width": 0.25, "hidden": 8, "working_size": 64, "prm": False, "motion": "global"}),
    ],
)  # fmt: skip
def test_every_net_with_a_state_can_be_given_that_of_another_clip(name: str, options: dict[str, Any]) -> None:
    net = build_net(name, **options)
    net.reset_parameters(0)
    clips = [Clip("anna", 0.1, num_frames=2, side=64), Clip("ben", 0.8, num_frames=2, side=64)]
    table = states_of(net, clips)
    assert table["mad"].notna().all()
    assert table.groupby("state").size().tolist() == [4, 4, 4]


def test_a_memory_of_the_true_background_is_no_state() -> None:
    net = build_net("modnet_v", brm_mode="oracle", width=0.25, hidden=8, working_size=64, prm=False)
    assert evaluate_states(net, [Clip("anna", 0.1, side=64)], CPU, Streaming())[1] is None
