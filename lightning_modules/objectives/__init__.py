"""What one stage of a paper minimises, and the table of it."""

from __future__ import annotations

from lightning_modules.objectives.background_matting import BackgroundMattingBaseObjective, BackgroundMattingObjective
from lightning_modules.objectives.context_motion import ContextMotionObjective
from lightning_modules.objectives.interface import Objective
from lightning_modules.objectives.modnet import MODNetObjective, SOCObjective
from lightning_modules.objectives.modnet_v import MODNetVObjective, PatchRefinementObjective
from lightning_modules.objectives.rvm import RVMObjective
from lightning_modules.objectives.segmentation import SegmentationObjective

OBJECTIVES: dict[str, type[Objective]] = {
    "modnet": MODNetObjective,
    "soc": SOCObjective,
    "modnet_v": MODNetVObjective,
    "patch_refinement": PatchRefinementObjective,
    "rvm": RVMObjective,
    "background_matting_base": BackgroundMattingBaseObjective,
    "background_matting_refine": BackgroundMattingObjective,
    "segmentation": SegmentationObjective,
    "context_motion": ContextMotionObjective,
}
