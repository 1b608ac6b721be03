"""MODNet-V's objectives: stage 1 trains matting with background restoration, stage 2 patch refinement."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from datamodules.batch import MattingBatch
from lightning_modules import losses
from lightning_modules.nets.blocks import frozen_statistics
from lightning_modules.nets.brm import BackgroundDecoder
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.nets.modnet_v import Memory, MODNetV
from lightning_modules.objectives.interface import Objective, Rate
from lightning_modules.objectives.modnet import MODNetObjective


class MODNetVObjective(Objective):
    """Stage 1: losses at the first and the last frame of the clip, no gradient through those between.

    The number of frames T is the batch's; the paper draws it from 1 to 10 for every iteration.

    Args:
        net: MODNet-V; without a BRM there is no background term.
        background_weight: of L_bg; 0 leaves the term and its decoder out.
        background_domain: cells that L_bg counts: only the restored ones, or all (the literal reading).
        backprop_frames: last frames that share one graph; 1, the last alone, is the paper.
        plate: which true background a net with brm_mode="oracle" is given: that of each frame ("true"), or the "first"
            frame's, as who films a room before somebody enters has it. Test it with plate=first.
        true_memory: the true alpha tells the memory what to store, so that no error of the net gets into it while it
            learns to read it; tested, the net stores what itself takes for background. A number: in that share of the
            steps, drawn by chance. The paper knows no such thing.
        true_memory_steps: over so many steps that share falls to 0, in a line; None: it stays.
        semantic_weight, detail_weight, matte_weight: MODNet's.
    Source: MODNet-V, sections 3.5 and 4.2, Eq. 7. The means over frames and cells are our choice.
    """

    def __init__(
        self,
        net: MODNetV,
        background_weight: float = 1.0,
        background_domain: Literal["restored", "everywhere"] = "restored",
        backprop_frames: int = 1,
        plate: Literal["true", "first"] = "true",
        true_memory: bool | float = False,
        true_memory_steps: int | None = None,
        semantic_weight: float = 10.0,
        detail_weight: float = 10.0,
        matte_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if background_domain not in ("restored", "everywhere"):
            raise ValueError(f"background_domain must be 'restored' or 'everywhere', got {background_domain!r}")
        if plate not in ("true", "first"):
            raise ValueError(f"plate must be 'true' or 'first', got {plate!r}")
        if backprop_frames < 1:
            raise ValueError(f"backprop_frames must be at least 1, got {backprop_frames}")
        if not 0 <= true_memory <= 1:
            raise ValueError(f"true_memory must be true, false or a share in [0, 1], got {true_memory}")
        if true_memory_steps is not None and true_memory_steps < 1:
            raise ValueError(f"true_memory_steps must be at least 1, or null, got {true_memory_steps}")
        self.matting = MODNetObjective(net, semantic_weight, detail_weight, matte_weight)
        self.background_weight = background_weight
        self.background_domain = background_domain
        self.backprop_frames = backprop_frames
        self.first_plate = plate == "first"
        self.true_memory = float(true_memory)
        self.true_memory_steps = true_memory_steps
        self.told_share = self.true_memory
        self.background_decoder = (
            BackgroundDecoder(net.brm.channels) if net.brm is not None and background_weight > 0 else None
        )

    def parameter_groups(self, net: MattingNet, learning_rate: Rate) -> list[dict[str, Any]]:
        """Everything except the patch refinement, which stage 2 trains, and an estimator of motion."""
        trained = [p for name, p in net.named_parameters() if not name.startswith(("prm.", "motion."))]
        return [{"params": [*trained, *self.parameters()], "lr": learning_rate}]

    def before_step(self, net: MattingNet, step: int) -> None:
        """Set in which share of steps like this one the true alpha fills the memory."""
        if self.true_memory_steps is not None:
            self.told_share = self.true_memory * max(0.0, 1 - step / self.true_memory_steps)

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms loss, semantic, detail, matte, background: means over the supervised frames."""
        assert isinstance(net, MODNetV)
        num_frames = batch.frames.shape[1]
        windows = losses.trimap_windows(min(batch.frames.shape[-2:]), generator)
        truth = partial(self._truth, net, batch, self._tells_memory(generator))
        first = net(batch.frames[:, :1], **truth(0, 1))
        terms = [self._terms(first, batch, 0, windows)]
        if num_frames > 1:
            start = max(1, num_frames - self.backprop_frames)
            state = self._advance(net, first.state, batch.frames[:, 1:start], truth(1, start))
            last = net(batch.frames[:, start:], state=state, **truth(start, num_frames))
            terms.append(self._terms(last, batch, num_frames - 1, windows))
        return {name: torch.stack([term[name] for term in terms]).mean() for name in terms[0]}

    def _advance(self, net: MODNetV, state: Memory | None, frames: Tensor, truth: dict[str, Tensor]) -> Memory | None:
        """The state after the frames, from that after frame 0, without a graph."""
        if state is None:
            return None
        state = type(state)(*(part.detach() for part in state))
        with torch.no_grad(), frozen_statistics(net):
            return net.advance(frames, state, **truth)

    def _tells_memory(self, generator: torch.Generator) -> bool:
        """Whether the true alpha fills the memory in this step."""
        if self.told_share in (0.0, 1.0):
            return bool(self.told_share)
        return float(torch.rand((), generator=generator)) < self.told_share

    def _truth(self, net: MODNetV, batch: MattingBatch, told: bool, start: int, stop: int) -> dict[str, Tensor]:
        truth = _truth(net, batch, start, stop, told)
        return truth | {"background": batch.background[:, :1]} if self.first_plate else truth

    def _terms(self, output: MattingOutput, batch: MattingBatch, t: int, windows: tuple[int, int]) -> dict[str, Tensor]:
        """Loss terms at frame `t`, the last one of `output`."""
        aux = {name: output.aux[name][:, -1:] for name in ("semantic", "detail")}
        frames, alpha = batch.frames[:, t : t + 1], batch.alpha[:, t : t + 1]
        terms = self.matting.terms(output.alpha[:, -1:], aux, frames, alpha, windows)
        if self.background_decoder is not None:
            mask = output.aux["background_mask"][:, -1]
            terms["background"] = losses.background_loss(
                self.background_decoder(output.aux["background_feature"][:, -1]),
                batch.background[:, t],
                losses.trimap(alpha[:, 0], *windows) == 0.5,
                mask if self.background_domain == "restored" else None,
            )
            terms["loss"] = terms["loss"] + self.background_weight * terms["background"]
        return terms


class PatchRefinementObjective(Objective):
    """Stage 2: patch refinement of the last frame, everything else frozen and in eval mode.

    L = L_alphaH + 10 · flaw cross entropy. The memory rolls over the clip at working size first. Trained are
    the patches that the flaw map selects, those whose true flaw is above ξ, and a random share of the rest.

    Args:
        net: MODNet-V with PRM.
        flaw_weight: of the flaw map's term.
        random_share: of all patches, drawn at random and trained besides.
        max_patches: patches trained in a step at most; a random choice where there are more.
    Source: MODNet-V, sections 3.4 and 3.5, Eq. 8. How flaws are supervised is our choice.
    """

    idle_parameters = True  # of the refiner, on a device that selects no patch

    def __init__(
        self, net: MODNetV, flaw_weight: float = 10.0, random_share: float = 0.05, max_patches: int = 48
    ) -> None:
        super().__init__()
        if net.prm is None:
            raise ValueError("the refinement stage needs model.prm=true; else set recipe.stages.refinement=null")
        self.flaw_weight = flaw_weight
        self.random_share = random_share
        self.max_patches = max_patches

    def parameter_groups(self, net: MattingNet, learning_rate: Rate) -> list[dict[str, Any]]:
        """One group, the patch refinement: the rest of the net stays as stage 1 left it."""
        assert isinstance(net, MODNetV)
        assert net.prm is not None
        return [{"params": list(net.prm.parameters()), "lr": learning_rate}]

    def before_step(self, net: MattingNet, step: int) -> None:
        """Only the refinement is in train mode."""
        assert isinstance(net, MODNetV)
        assert net.prm is not None
        net.eval()
        net.prm.train()

    def forward(self, net: MattingNet, batch: MattingBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms loss, refined, flaw (unweighted), and refined_share, the share of patches above ξ."""
        assert isinstance(net, MODNetV)
        assert net.prm is not None
        frame, alpha = batch.frames[:, -1], batch.alpha[:, -1]
        if max(frame.shape[-2:]) <= net.working_size:
            raise ValueError(
                f"the refinement stage got frames of {tuple(frame.shape[-2:])}, not larger than model.working_size="
                f"{net.working_size}; raise recipe.stages.refinement.size or lower model.working_size"
            )
        with torch.no_grad():
            last = batch.frames.shape[1] - 1
            state = net.advance(batch.frames[:, :-1], None, **_truth(net, batch, 0, last))
            truth = {name: value[:, 0] for name, value in _truth(net, batch, last, last + 1).items()}
            coarse = net.coarse(frame, state, **truth)
        logits = net.prm.flaw_logits(coarse.small_alpha, (frame.shape[-2], frame.shape[-1]))
        target = net.prm.flaw_target(coarse.alpha, alpha)
        flawed = logits.detach().sigmoid() > net.prm.xi
        selection = self._select(flawed | (target > net.prm.xi), generator)
        refined = net.prm.refine(frame, coarse.alpha, coarse.feature, selection[:, 0])
        inside = net.prm.selected_pixels(selection[:, 0], *frame.shape[-2:])
        windows = losses.trimap_windows(min(frame.shape[-2:]), generator)
        gamma = 1 + 3 * (losses.trimap(alpha, *windows) == 0.5).float()
        error = (losses.charbonnier(refined, alpha, gamma) * inside).sum() / inside.sum().clamp(min=1)
        flaw = losses.flaw_loss(logits, target)
        return {
            "loss": error + self.flaw_weight * flaw,
            "refined": error,
            "flaw": flaw,
            "refined_share": flawed.float().mean(),
        }

    def _select(self, wanted: Tensor, generator: torch.Generator) -> Tensor:
        """(B, 1, k, k) bool: the wanted patches and a random share, at most `max_patches`."""
        chance = torch.rand(wanted.shape, generator=generator).to(wanted.device)
        selection = wanted | (chance < self.random_share)
        if selection.sum() <= self.max_patches:
            return selection
        drawn = torch.where(selection, torch.rand(wanted.shape, generator=generator).to(wanted.device), -1.0)
        return drawn >= drawn.flatten().topk(self.max_patches).values[-1]


def _truth(net: MODNetV, batch: MattingBatch, start: int, stop: int, true_memory: bool = False) -> dict[str, Tensor]:
    """What a net is told of some frames: the true background; flow and alpha where it needs them, or is to have it."""
    truth = {"background": batch.background[:, start:stop]}
    if net.needs_flow and batch.flow is not None:
        truth["flow"] = batch.flow[:, start:stop]
    if net.needs_alpha or true_memory:
        truth["alpha"] = batch.alpha[:, start:stop]
    return truth
