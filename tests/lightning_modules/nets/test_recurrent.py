import pytest
import torch

from lightning_modules.nets.recurrent import ConvGRU, ConvLSTM, RecurrentStage

UNITS = [ConvGRU, ConvLSTM]


def fill(module, value):
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, value)


@pytest.mark.parametrize("unit", UNITS)
def test_folded_frames_are_those_one_by_one(unit):
    unit = unit(6)
    memory = torch.randn(2, unit.memory_channels, 5, 7)
    frames = torch.randn(3, 2, 6, 5, 7)
    outputs, last = unit(frames.flatten(0, 1), memory)
    for frame, expected in zip(frames, outputs.split(2), strict=True):
        output, memory = unit(frame, memory)
        torch.testing.assert_close(output, expected)
    torch.testing.assert_close(memory, last)


def test_gru_by_hand():
    unit = ConvGRU(1)
    fill(unit, 0)
    # Gates: reset σ(1), update σ(2); candidate tanh(x + 3 r h) from the middle of the kernel.
    unit.gates.bias.data = torch.tensor([1.0, 2.0])
    unit.candidate.weight.data[0, :, 1, 1] = torch.tensor([1.0, 3.0])
    x, h = torch.tensor(0.3), torch.tensor(0.2)
    output, memory = unit(x.view(1, 1, 1, 1), h.view(1, 1, 1, 1))
    r, z = torch.sigmoid(torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(output.squeeze(), (1 - z) * h + z * torch.tanh(x + 3 * r * h))
    assert torch.equal(output, memory)


def test_lstm_by_hand():
    unit = ConvLSTM(1)
    fill(unit, 0)
    unit.gates.bias.data = torch.tensor([1.0, 2.0, 3.0, 0.5])
    hidden, cell = torch.tensor(0.2), torch.tensor(0.7)
    output, memory = unit(torch.zeros(1, 1, 1, 1), torch.stack((hidden, cell)).view(1, 2, 1, 1))
    take, keep, show = torch.sigmoid(torch.tensor([1.0, 2.0, 3.0]))
    expected = keep * cell + take * torch.tanh(torch.tensor(0.5))
    torch.testing.assert_close(memory.flatten(), torch.stack((show * torch.tanh(expected), expected)))
    torch.testing.assert_close(output.flatten(), memory.flatten()[:1])


@pytest.mark.parametrize(("kind", "recurrent"), [("convgru", 4), ("convgru_full", 8), ("convlstm", 4), ("none", 0)])
def test_stage_keeps_the_first_channels(kind, recurrent):
    stage = RecurrentStage(8, kind)
    memory = torch.zeros(1, stage.memory_channels, 5, 6) if recurrent else None
    x = torch.randn(2, 8, 5, 6)
    out, memory = stage(x, memory)
    changed = (out != x).flatten(2).any(2).any(0)
    assert changed.tolist() == [False] * (8 - recurrent) + [True] * recurrent
    assert (memory is None) == (recurrent == 0)


@pytest.mark.parametrize("unit", UNITS)
def test_memory_keeps_its_precision_under_autocast(unit):
    unit = unit(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = torch.randn(2, 4, 5, 6).bfloat16()
        output, memory = unit(x, torch.zeros(1, unit.memory_channels, 5, 6))
    assert output.dtype == torch.bfloat16
    assert memory.dtype == torch.float32
