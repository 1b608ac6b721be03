from dataclasses import dataclass, replace

import pytest
import torch

from datamodules.augment.rvm import RVMAugmentation
from datamodules.batch import Layers
from datamodules.composite import collate_layers, composite
from datamodules.dice import Draws
from datamodules.draw_rvm_layers import draw_rvm_layers
from datamodules.sources.interface import ForegroundClip, Scene

ALWAYS = RVMAugmentation(
    1.0, 1.0, 1.0, noise_share=1.0, colour_share=1.0, grey_share=0.0, sharpness_share=1.0, blur_share=1.0
)


def numbered(frames: list[int], height: int, width: int) -> torch.Tensor:
    return torch.tensor(frames, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, height, width)


@dataclass
class People:
    """Frames that tell their number, on an opaque canvas with an empty margin."""

    frames: int = 30

    def __len__(self) -> int:
        return 2

    def name(self, i: int) -> str:
        return f"clip{i}"

    def num_frames(self, i: int) -> int:
        return self.frames

    def read(self, i: int, frames: list[int]) -> ForegroundClip:
        pha = torch.zeros(len(frames), 1, 40, 48, dtype=torch.uint8)
        pha[..., 5:, 8:40] = 255
        return ForegroundClip(numbered(frames, 40, 48).clone(), pha, torch.ones(len(frames), 2, 40, 48))


@dataclass
class Places:
    """A still, or a film whose frames tell their number."""

    film: bool = False

    def __len__(self) -> int:
        return 2

    def name(self, i: int) -> str:
        return f"scene{i}"

    def is_video(self, i: int) -> bool:
        return self.film

    def num_frames(self, i: int) -> int:
        return 40 if self.film else 1

    def read_frames(self, i: int, frames: list[int]) -> torch.Tensor:
        return numbered(frames, 50, 60)

    def read(self, i: int, num_frames: int, generator: torch.Generator) -> Scene:
        return Scene(
            torch.randint(0, 256, (1, 3, 50, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
        )


def draw(
    index: int = 0,
    augmentation: RVMAugmentation = ALWAYS,
    num_frames: int = 6,
    people: People | None = None,
    places: Places | None = None,
    flow: bool = False,
) -> Layers:
    draws = Draws((0, "train", index))
    people, places = people or People(), places or Places()
    return draw_rvm_layers(people, places, 1, 0, num_frames, (32, 36), augmentation, draws, flow)


def test_a_sample_is_a_function_of_its_key() -> None:
    first, again, other = draw(3), draw(3), draw(4)
    for name, value in vars(first).items():
        same = getattr(again, name)
        assert torch.equal(value, same) if isinstance(value, torch.Tensor) else value == same, name
    assert not torch.equal(first.fgr_affine, other.fgr_affine)
    assert first.look != other.look
    batches = [composite(collate_layers([draw(3)]), 32, 36) for _ in range(2)]
    assert torch.equal(batches[0].frames, batches[1].frames)


@pytest.mark.parametrize("index", range(6))
def test_frames_are_the_blend_of_the_layers_with_all_their_changes(index: int) -> None:
    batch = composite(collate_layers([draw(index), draw(index + 10)]), 32, 36)
    blend = batch.alpha * batch.foreground + (1 - batch.alpha) * batch.background
    assert (batch.frames - blend).abs().max() < 1e-6
    for name in ("frames", "alpha", "foreground", "background"):
        value = getattr(batch, name)
        assert value.isfinite().all()
        assert 0 <= value.min() <= value.max() <= 1


def test_a_clip_does_not_depend_on_its_batch() -> None:
    samples = [draw(0), draw(1, RVMAugmentation()), draw(2)]
    whole = composite(collate_layers(samples), 32, 36)
    for n, sample in enumerate(samples):
        alone = composite(collate_layers([sample]), 32, 36)
        assert torch.equal(whole.frames[n], alone.frames[0])
        assert torch.equal(whole.alpha[n], alone.alpha[0])


def test_a_pause_freezes_person_background_camera_noise_and_colours() -> None:
    still = replace(ALWAYS, pause_share=1.0, speeds=(1.0,), reverse_share=0.0)
    for index in range(30):
        layers = draw(index, still, num_frames=8, places=Places(film=True))
        held = [t for t in range(1, 8) if layers.look.shown[t] == layers.look.shown[t - 1]]
        batch = composite(collate_layers([layers]), 32, 36)
        for t in range(1, 8):
            same = [torch.equal(value[0, t], value[0, t - 1]) for value in (batch.frames, batch.alpha)]
            assert all(same) if t in held else not same[0]
        if held:
            break
    else:
        pytest.fail("no clip pauses")


def test_person_and_background_film_have_speeds_of_their_own() -> None:
    plain = replace(ALWAYS, reverse_share=0.0, pause_share=0.0)
    seen = set()
    for index in range(100):
        layers = draw(index, plain, places=Places(film=True), people=People(200))
        person = layers.fgr[:, 0, 0, 0].int()
        film = layers.bgr[:, 0, 0, 0].int()
        seen.add((int(person[2] - person[0]) % 200, int(film[2] - film[0]) % 40))
        assert layers.bgr_index.tolist() == list(range(6))
    assert {one for one, _ in seen} == {other for _, other in seen} == {1, 2, 4, 6, 8, 10}
    assert len(seen) > 25


def test_the_published_shares_leave_most_of_a_clip_as_it_is() -> None:
    untouched = [draw(index, RVMAugmentation()).look for index in range(200)]
    plain = [each for each in untouched if not (each.grain or each.foreground_colours or each.background_colours)]
    assert 0.3 < len(plain) / 200 < 0.6  # 0.9 · 0.7² = 0.44


def test_one_frame_is_a_clip_too() -> None:
    batch = composite(collate_layers([draw(num_frames=1, people=People(1))]), 32, 36)
    assert batch.frames.shape == (1, 1, 3, 32, 36)


def test_the_true_flow_is_known_at_a_speed_of_one_alone() -> None:
    forth = replace(ALWAYS, speeds=(1.0,), reverse_share=0.0, pause_share=0.0)
    layers = draw(0, forth, people=People(200), flow=True)
    assert layers.fgr_flow is not None
    assert composite(collate_layers([layers]), 32, 36, flow=True).flow is not None
    with pytest.raises(ValueError, match="skips frames or runs backwards"):
        draw(0, replace(forth, speeds=(5.0,)), people=People(200), flow=True)
