"""scale=paper against what the papers and the official code print: nets, losses, rates, lengths.

What a paper leaves open (MODNet-V's momentum, channels of Context Motion Network's features) is not in the tables.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import experiments
from lightning_modules.nets import build_net
from lightning_modules.objectives import OBJECTIVES

CONFIGS = Path(experiments.__file__).parent / "configs"
MODELS = sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))

# Of our own making, which no paper has: MODNet along flow, MODNet-V with a memory that moves.
OURS = {"modnet_flow", "modnet_v_motion"}
SAVED = {"checkpoint"}  # which says itself what net it is

# model → parameters of the net, then its options.
NETS: dict[str, tuple[int, dict[str, Any]]] = {
    # Official code.
    "modnet": (6_487_075, {"width": 1.0, "hidden": 32, "pretrained": True}),
    # Section 3: half-size input of the semantic branch, k = 16, ξ = 0.01, Algorithm 1; parameters are ours.
    "modnet_v": (
        2_159_741,
        {"width": 1.0, "semantic_scale": 0.5, "brm": True, "brm_update": "average", "working_size": 512}
        | {"motion": "none", "prm": True, "prm_k": 16, "prm_xi": 0.01, "prm_mode": "threshold"},
    ),
    # Table 8 and section 3.
    "rvm": (
        3_748_633,
        {"backbone": "mobilenetv3", "refiner": "deep_guided_filter", "recurrence": "convgru", "width": 1.0}
        | {"recurrent_scales": [1, 2, 3, 4], "decoder_width": 1.0, "pretrained": True},
    ),
    # Table 4; sections 4.1 to 4.3; the official code's clamps.
    "background_matting_v2": (
        40_247_703,
        {"backbone": "resnet50", "width": 1.0, "backbone_scale": 0.25, "refine_mode": "sampling"}
        | {"refine_sample_pixels": 80_000, "refine_share": None, "refine_kernel_size": 3}
        | {"refine_prevent_oversampling": True, "clamp_gradient": "inside", "pretrained": True},
    ),
    # Section 3; PWC-Net has 9,374,274 parameters.
    "context_motion": (
        26_536_802 + 9_374_274,
        {"backbone": "resnet50", "flow": "pwcnet", "operator": "motion", "decoder_channels": 32, "width": 1.0}
        | {"pretrained": True},
    ),
    # RVM, section 5.1: the baseline, as torchvision publishes it.
    "deeplabv3": (58_630_997, {"backbone": "resnet101", "pretrained": True}),
    "lraspp": (3_221_538, {"pretrained": True}),  # torchvision's only one
}

ADAM = {"optimizer": "adam", "momentum": 0.9, "weight_decay": 0.0, "milestones": [], "gradient_clip_norm": None}


def rvm_stage(steps: int, clip: int, rates: tuple[float, ...], high: bool) -> dict[str, Any]:
    """RVM, section 4.3: Adam, constant rates of encoder, LR-ASPP, decoder and refiner, four clips a step."""
    names = ("backbone", "aspp", "rest", "refiner")
    passes = ["matting", "matting_high", "segmentation"] if high else ["matting", "segmentation"]
    large = {"clip_length": 6, "batch_size": 4, "size": 2048, "random_resolution": True}
    return {
        **ADAM,
        "steps": steps,
        "average_decay": None,
        "rates": dict(zip(names, rates, strict=True)),
        "passes_in_turn": passes * 2,
        "passes.matting.clip_length": clip,
        "passes.matting.batch_size": 4,
        "passes.matting.size": 512,
        "passes.matting.random_resolution": True,
        "passes.segmentation_video.clip_length": clip,
        "passes.segmentation_video.batch_size": 4,
        "passes.segmentation_images.batch_size": 4 * clip,  # B′ = B × T
        "objective.name": "rvm",
        "objective.downsample_ratio": 0.25,
        "objective.coherence_weight": 5.0,
        **({f"passes.matting_high.{name}": value for name, value in large.items()} if high else {}),
    }


def plate_stage(steps: int, batch: int, size: int, rates: dict[str, float], objective: str) -> dict[str, Any]:
    """BackgroundMattingV2, section 4.3 and appendix: Adam, constant rates, frames of size/2 … size px."""
    return {
        **ADAM,
        "steps": steps,
        "average_decay": None,
        "learning_rate": rates,
        "objective.name": objective,
        "objective.plate": "perturbed",
        "passes.matting.batch_size": batch,
        "passes.matting.clip_length": 1,
        "passes.matting.size": size,
        "passes.matting.random_resolution": True,
    }


MODNET_LOSSES = {"objective.semantic_weight": 10.0, "objective.detail_weight": 10.0, "objective.matte_weight": 1.0}
SGD = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.0, "schedule": "step", "gamma": 0.1, "warmup": 0.0}

# model (its recipe has the same name) → stage → settings.
STAGES: dict[str, dict[str, dict[str, Any]]] = {
    "modnet": {
        # Official code: 40 epochs, the rate × 0.1 every ten; composites: about 100,000 (its issues 57, 121).
        "matting": {
            **SGD,
            **MODNET_LOSSES,
            "learning_rate": 0.01,
            "milestones": [0.25, 0.5, 0.75],
            "gradient_clip_norm": None,
            "average_decay": None,
            "steps": 40 * 100_000 // 16,
            "batch_size": 16,
            "size": 512,
            "clip_length": [1, 1],
        }
    },
    "modnet_v": {
        # Sections 4.1 and 4.2: 30 epochs of 9,680 samples, × 0.1 at epochs 15 and 25; then 10 epochs, a sample a step.
        "matting": {
            **MODNET_LOSSES,
            "objective.background_weight": 1.0,
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "milestones": [pytest.approx(15 / 30), pytest.approx(25 / 30, abs=1e-3)],
            "gamma": 0.1,
            "average_decay": None,
            "steps": 30 * 9_680 // 16,
            "batch_size": 16,
            "size": 512,
            "clip_length": [1, 10],
        },
        "refinement": {
            "objective.flaw_weight": 10.0,
            "optimizer": "sgd",
            "learning_rate": 0.001,
            "milestones": [],
            "average_decay": None,
            "steps": 10 * 9_680,
            "batch_size": 1,
        },
    },
    "rvm": {
        # Epochs × iterations of four clips of T frames × passes.
        "stage1": rvm_stage(15 * 4000 * 2, 15, (1e-4, 2e-4, 2e-4, 0.0), high=False),
        "stage2": rvm_stage(2 * 1200 * 2, 50, (5e-5, 1e-4, 1e-4, 0.0), high=False),
        "stage3": rvm_stage(1 * 1500 * 3, 40, (1e-5, 1e-5, 1e-5, 2e-4), high=True),
        "stage4": rvm_stage(5 * 2775 * 3, 40, (1e-5, 1e-5, 5e-5, 2e-4), high=True),
    },
    "background_matting_v2": {
        # 8 epochs, then 1, of VideoMatte240K's 238,222 training frames.
        "base": plate_stage(
            8 * 238_222 // 8,
            8,
            512,
            {"backbone": 1e-4, "aspp": 5e-4, "decoder": 5e-4},
            "background_matting_base",
        ),
        "refine": plate_stage(
            round(238_222 / 4),
            4,
            2048,
            {"backbone": 5e-5, "aspp": 5e-5, "decoder": 1e-4, "refiner": 3e-4},
            "background_matting_refine",
        ),
    },
    "context_motion": {
        # Section 3: OneCycle, values of gradients clipped to [−1, 1], flow frozen for 150,000 steps.
        "matting": {
            "objective.laplacian_weight": 1.0,
            "objective.foreground_weight": 0.1,
            "objective.frozen_share": 150_000 / 300_000,
            "optimizer": "adamw",
            "learning_rate": 1e-4,
            "schedule": "onecycle",
            "gradient_clip_value": 1.0,
            "average_decay": None,
            "steps": 300_000,
            "batch_size": 4,
            "clip_length": [3, 3],
            "size": 384,
        }
    },
}


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", overrides=list(overrides)), resolve=True)
    return config  # type: ignore[no-any-return]


def select(stage: dict[str, Any], setting: str) -> Any:
    """A setting of a stage by its dotted name, or what several of its settings amount to."""
    if setting == "rates":
        given = dict(stage["learning_rate"])
        return {name: given.get(name, given["rest"]) for name in ("backbone", "aspp", "rest", "refiner")}
    if setting == "passes_in_turn":
        return [name.removesuffix("_video").removesuffix("_images") for name in stage["order"]]
    value: Any = stage
    for name in setting.split("."):
        value = value[name]
    return value


def test_the_tables_hold_every_model_of_a_paper_and_every_recipe_of_one() -> None:
    assert set(NETS) | OURS | SAVED == set(MODELS), (
        "a net's figures from its paper belong into NETS, or its name into OURS"
    )
    recipes = {path.stem for path in (CONFIGS / "recipe").glob("*.yaml") if not path.stem.endswith("_short")}
    assert recipes - {"modnet_soc", "none"} == set(STAGES), "what a paper says of its training belongs into STAGES"


@pytest.mark.slow
@pytest.mark.parametrize("model", NETS)
def test_a_net_at_scale_paper_is_the_papers(model: str) -> None:
    options = composed("scale=paper", f"model={model}")["model"]
    parameters, expected = NETS[model]
    assert {name: options[name] for name in expected} == expected
    with torch.device("meta"):
        net = build_net(options.pop("name"), **options | {"pretrained": False})
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


@pytest.mark.parametrize("model", STAGES)
def test_a_recipe_at_scale_paper_reads_like_the_papers_method_section(model: str) -> None:
    stages = composed("scale=paper", f"model={model}", f"recipe={model}")["recipe"]["stages"]
    assert list(stages) == list(STAGES[model])
    for name, expected in STAGES[model].items():
        assert {setting: select(stages[name], setting) for setting in expected} == expected, name
        assert stages[name]["objective"]["name"] in OBJECTIVES


@pytest.mark.parametrize("scale", ["smoke", "tiny", "small"])
def test_small_scales_need_no_weights_of_others(scale: str) -> None:
    sizes = composed(f"scale={scale}")["scale"]
    assert sizes["pretrained"] is False
    assert sizes["context_motion"]["flow"] == "dis"
    assert sizes["background_matting_v2"]["clamp_gradient"] == sizes["rvm"]["clamp_gradient"] == "inward"
