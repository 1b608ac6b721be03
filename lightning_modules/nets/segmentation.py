"""Segmentation nets as matting baselines: the person class, thresholded, is alpha (torchvision's models)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from lightning_modules.nets.blocks import conv_layout, fold_time, join_frames, split_frames, unfold_time
from lightning_modules.nets.interface import MattingNet, MattingOutput
from lightning_modules.options import check_choice

# The classes of PASCAL VOC, which torchvision's weights know.
NUM_CLASSES, PERSON = 21, 15
BACKBONES = ("resnet101", "resnet50", "mobilenetv3")


class SegmentationNet(MattingNet):
    """A torchvision segmentation model, frame by frame, no state.

    `aux`: `segmentation` (B, T, 1, H, W), the logit of "person" against all other classes.
    """

    multiple = 1
    mean: Tensor
    deviation: Tensor

    def __init__(self, architecture: str, threshold: float | None, pretrained: bool) -> None:
        super().__init__()
        if threshold is not None and not 0 <= threshold < 1:
            raise ValueError(f"threshold must be null or in [0, 1), got {threshold}")
        self.architecture = architecture
        self.threshold = threshold
        self.model = get_model(architecture, weights=None, weights_backbone=None, num_classes=NUM_CLASSES)
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1  # MobileNetV3's 0.01 leaves the statistics of short trainings behind the weights
        # ImageNet's, which the published weights expect.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)
        if pretrained:
            self.load_pretrained()

    def forward(self, frames: Tensor, state: Any = None, background: Tensor | None = None) -> MattingOutput:
        """Segment every frame of (B, T, 3, H, W) in [0, 1]; `state` and `background` are not used.

        Alpha is the probability of "person" in training and with `threshold=None`, else 1 where it is above.
        """
        self.check_inputs(frames, state, background)
        parts = [self.run_step(some) for some in split_frames(fold_time(frames), self.training)]
        logits = unfold_time(join_frames(parts), frames.shape[1])
        alpha = logits.sigmoid()
        if self.threshold is not None and not self.training:
            alpha = (alpha > self.threshold).to(alpha.dtype)
        return MattingOutput(alpha, aux={"segmentation": logits})

    def step(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) in [0, 1] → the person's logit (N, 1, H, W), float32."""
        images = conv_layout((frames - self.mean) / self.deviation)
        scores = self.model(images)["out"].float()
        others = torch.cat((scores[:, :PERSON], scores[:, PERSON + 1 :]), dim=1)
        # The sigmoid of this is the person's softmax.
        return scores[:, PERSON : PERSON + 1] - others.logsumexp(dim=1, keepdim=True)

    def initialise(self, module: nn.Module) -> None:
        """Convolutions Kaiming normal, as torchvision's encoders; all else torch's default."""
        super().initialise(module)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def load_pretrained(self) -> None:
        """Take torchvision's weights, trained on the COCO pictures that show classes of VOC (downloads them once)."""
        weights = get_model(self.architecture, weights="COCO_WITH_VOC_LABELS_V1").state_dict()
        self.model.load_state_dict({key: weights[key] for key in self.model.state_dict()})


class DeepLabV3(SegmentationNet):
    """DeepLabV3 (Chen et al., 2017), the segmentation baseline of RVM's tables."""

    def __init__(self, backbone: str = "resnet101", threshold: float | None = 0.5, pretrained: bool = False) -> None:
        """Build the net.

        Args:
            backbone: "resnet101" (58,630,997 parameters), "resnet50" (39,638,869) or "mobilenetv3" (11,025,477).
            threshold: probability above which alpha is 1; None: alpha is the probability.
            pretrained: published weights (downloads them once).

        Raises:
            ValueError: an option has none of these values.
        """
        check_choice("backbone", backbone, BACKBONES)
        encoder = "mobilenet_v3_large" if backbone == "mobilenetv3" else backbone
        super().__init__(f"deeplabv3_{encoder}", threshold, pretrained)


class LRASPP(SegmentationNet):
    """LR-ASPP on MobileNetV3-Large (Howard et al., ICCV 2019), 3,221,538 parameters."""

    def __init__(self, threshold: float | None = 0.5, pretrained: bool = False) -> None:
        """Build the net.

        Args:
            threshold: probability above which alpha is 1; None: alpha is the probability.
            pretrained: published weights (downloads them once).
        """
        super().__init__("lraspp_mobilenet_v3_large", threshold, pretrained)
