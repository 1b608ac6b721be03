"""BackgroundMattingV2's objectives: phase 1 trains the base network, phase 2 all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from datamodules.batch import MattingBatch
from lightning_modules import losses
from lightning_modules.nets.background_matting import CELL, BackgroundMattingV2
from lightning_modules.nets.blocks import fold_time, resize
from lightning_modules.nets.interface import MattingNet
from lightning_modules.objectives.interface import Objective, Rate
from lightning_modules.objectives.plates import PlateAugmentation, perturbed_plate, shadowed_frames
from lightning_modules.options import check_choice
from lightning_modules.ranks import generator_of_rank

PLATES = ("true", "first", "perturbed")


class PlateObjective(Objective):
    """What both phases share: which plate the net sees.

    Args:
        net: BackgroundMattingV2.
        plate: "true", the background of each frame; "first", that of the clip's first frame, as from a user who
            took one picture; "perturbed", the published augmentation: the true one with other colours, noise and
            misaligned, and shadows in the frames.
        augmentation: options of `PlateAugmentation` for "perturbed".
        detach_error: the error map's target gives no gradient; False is phase 2 of the official code.

    Raises:
        ValueError: an option does not exist, or the net lacks the refiner that is to be trained.
    """

    needs_refiner = False

    def __init__(
        self,
        net: BackgroundMattingV2,
        plate: Literal["true", "first", "perturbed"] = "perturbed",
        augmentation: Mapping[str, Any] | None = None,
        detach_error: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(net, BackgroundMattingV2):
            raise ValueError(f"this objective needs model=background_matting_v2, got {type(net).__name__}")
        if self.needs_refiner and net.refiner is None:
            raise ValueError(
                "the refine stage needs a refiner; with model.refine_mode=none set recipe.stages.refine=null"
            )
        check_choice("plate", plate, PLATES)
        try:
            self.augmentation = PlateAugmentation(**(augmentation or {}))
        except TypeError as error:
            raise ValueError(f"augmentation: {error}") from error
        self.plate = plate
        self.detach_error = detach_error

    def images(self, batch: MattingBatch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Frames and plate (B, T or 1, 3, H, W) as the net sees them."""
        if batch.frames.shape[:2].numel() < 2:
            raise ValueError(
                "background_matting_v2 trains on two frames at least: its batch norm over the pooled picture has "
                "no variance else; raise recipe.stages.*.batch_size or clip_length"
            )
        if self.plate == "true":
            return batch.frames, batch.background
        if self.plate == "first":
            return batch.frames, batch.background[:, :1]
        generator = generator_of_rank(generator)
        frames = shadowed_frames(batch.frames, batch.alpha, batch.background, self.augmentation, generator)
        return frames, perturbed_plate(batch.background, self.augmentation, generator)


class BackgroundMattingBaseObjective(PlateObjective):
    """Phase 1: the base network alone, on frames of the size that it sees later (the frame's times backbone_scale).

    Args:
        net: BackgroundMattingV2; its refiner is left alone.
        plate, augmentation, detach_error: see `PlateObjective`.
    Source: Lin et al., section 4.3 of the paper; the official code's losses, all of weight 1.
    """

    def parameter_groups(self, net: MattingNet, learning_rate: Rate) -> list[dict[str, Any]]:
        """Everything except the refiner."""
        rates = dict(learning_rate) if isinstance(learning_rate, Mapping) else {"rest": learning_rate}
        assert isinstance(net, BackgroundMattingV2)
        if net.refiner is not None:
            rates["refiner"] = 0.0
        return super().parameter_groups(net, rates)

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms loss, alpha, gradient, foreground, error."""
        assert isinstance(net, BackgroundMattingV2)
        frames, plate = self.images(batch, generator)
        coarse = net.base(fold_time(torch.cat((frames, plate.expand_as(frames)), dim=2)))
        alpha, foreground = fold_time(batch.alpha), fold_time(batch.foreground)
        terms = losses.matte_and_foreground_terms(coarse.alpha, coarse.foreground, alpha, foreground)
        terms["error"] = losses.error_map_loss(coarse.error, coarse.alpha, alpha, self.detach_error)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


class BackgroundMattingObjective(PlateObjective):
    """Phase 2: base network and refiner, the losses of phase 1 on both outputs.

    Frames are cut to multiples of 4 at the bottom and the right.

    Args:
        net: BackgroundMattingV2 with a refiner.
        plate, augmentation, detach_error: see `PlateObjective`.
    Source: Lin et al., section 4.3 of the paper; the official code's losses, all of weight 1.
    """

    needs_refiner = True

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms loss; alpha, gradient, foreground; the same with coarse_; error; and refined_share (of the cells)."""
        size = tuple(side // CELL * CELL for side in batch.frames.shape[-2:])
        frames, plate = (_cut(clip, size) for clip in self.images(batch, generator))
        output = net(frames, background=plate)
        alpha, foreground = (fold_time(_cut(clip, size)) for clip in (batch.alpha, batch.foreground))
        coarse_alpha, coarse_foreground, error = (
            fold_time(output.aux[name]) for name in ("coarse_alpha", "coarse_foreground", "error_map")
        )
        assert output.foreground is not None
        terms = losses.matte_and_foreground_terms(
            fold_time(output.alpha), fold_time(output.foreground), alpha, foreground
        )
        small = (coarse_alpha.shape[-2], coarse_alpha.shape[-1])
        coarse = losses.matte_and_foreground_terms(
            coarse_alpha, coarse_foreground, resize(alpha, small), resize(foreground, small)
        )
        terms |= {f"coarse_{name}": term for name, term in coarse.items()}
        terms["error"] = losses.error_map_loss(error, coarse_alpha, alpha, self.detach_error)
        loss = torch.stack(list(terms.values())).sum()
        return {"loss": loss, **terms, "refined_share": output.aux["refined_share"].mean()}


def _cut(clip: Tensor, size: tuple[int, ...]) -> Tensor:
    return clip[..., : size[0], : size[1]]
