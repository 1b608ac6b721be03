"""What `experiments.evaluate` is asked for: net, test set, how it is run and scored, and where the record lies."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from datamodules.files.fingerprint import stamps
from datamodules.testset import TestClip, TestSet
from experiments.inference.onnx_nets import OnnxNet, load_onnx
from experiments.inference.saved_nets import load_net
from experiments.inference.streaming import Streaming
from experiments.records.cell_record import CellRecord, record_beside, trained_on
from experiments.records.fingerprints import describe_data, describe_weights, what_changed
from experiments.records.identity import config_hash, short_name
from experiments.records.world import describe_versions, git_commit
from experiments.scoring.evaluation import Scoring
from experiments.scoring.sets import PLACES, PROTOCOL, open_test_set, parts_of
from experiments.training.nets import make_net
from experiments.training.settings import WITHOUT_EFFECT
from experiments.training.stages import pick_device
from lightning_modules.nets import all_options
from lightning_modules.nets.pretrained import published_file
from lightning_modules.nets.published import published
from lightning_modules.options import check_choice

PRM_MODES = {"full": "all", "threshold": "threshold", "off": "none"}
DEVICES = ("auto", "cpu", "cuda")
# Options that say how a net is run, of which `chunk` changes no figure; those that are given make an arm.
RUN_OPTIONS = {*(each.name for each in fields(Streaming)), "refiner", "prm"} - {"chunk"}
# Options that say what all nets of a comparison are tested on.
SET_OPTIONS = {*(each.name for each in fields(Scoring)), "data.", "protocol.", "size", "num_foregrounds"}


class Evaluation:
    """One evaluation, all of its options checked and all of its files opened.

    Attributes:
        net: in eval mode on `device`.
        clips: the test set.
        how: the net is run over them.
        scoring: what is measured.
        device: where to compute.
        folder: OUTPUT_DIR/evaluate/NAME.
        config: every setting that the figures depend on, plain, as saved with the record.
        data: what the clips are made of, as the record says it (see `fingerprints.describe_data`).
        parts: what that was made of.
        stamps: sizes and times of its files when this was made.
    """

    def __init__(self, config: DictConfig, hydra: HydraConf, local_rank: int = 0) -> None:
        """Read a composed config.

        Raises:
            ValueError: an option has an unknown value, a file is missing, or two options contradict each other.
        """
        if config.testset == PROTOCOL:
            # As many people and rooms are made by code as there are clips.
            config.data.test_clips, config.data.test_clip_length = config.protocol.clips, config.protocol.frames
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        given = [setting_name(override) for override in hydra.overrides.task]
        if not isinstance(plain["threads"], int) or plain["threads"] < 1:
            raise ValueError(f"threads must be a number from 1 on, got {plain['threads']!r}")
        torch.set_num_threads(plain["threads"])
        self.device = device_of(plain["device"], local_rank)
        self.how, self.scoring = Streaming.of(Streaming.among(plain)), _scoring(plain)
        if plain["weights"] is not None:
            plain["checkpoint"] = str(published_file(plain["weights"]))
        self.net, model = net_of(plain, given, self.how)
        if plain["onnx"] is not None:
            plain["checkpoint"] = plain["onnx"]
        self.net.to(self.device).eval()
        self.clips: TestSet
        self.clips, self.parts = open_test_set(plain)
        self.cache_dir = plain["data"]["cache_dir"]
        self.stamps = {part: stamps(contents) for part, contents in self.parts.items()}  # before they are hashed
        self.data = describe_data(self.parts, self.cache_dir)
        in_folder = plain["testset"] not in (None, PROTOCOL)
        checkpoint = None if plain["checkpoint"] is None else Path(plain["checkpoint"])
        self.config = {
            "model": model,
            "checkpoint": None if checkpoint is None else str(checkpoint),
            "checkpoint_sha256": None if checkpoint is None else hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            **({} if plain["weights"] is None else {"published": _published(plain["weights"])}),
            **({"weights": weights} if checkpoint is None and (weights := describe_weights(plain["model"])) else {}),
            "seed": plain["seed"],
            "testset": plain["testset"],
            "protocol": plain["protocol"] if plain["testset"] == PROTOCOL else None,
            "data": None if in_folder else plain["data"],
            "num_clips": len(self.clips),
            "clips_hash": config_hash({clip.key: [clip.name, clip.scene, clip.num_frames] for clip in self.clips}),
            "size": list(self.clips[0].size),
            **asdict(self.how),
            **asdict(replace(self.scoring, metrics=self._metrics())),
            "device": self.device.type,
            "threads": plain["threads"],
        }
        self.config["metrics"] = list(self.config["metrics"])
        self.trained = None if checkpoint is None else record_beside(checkpoint)
        tested = plain["weights"] or checkpoint
        self.trained_on = "" if tested is None else trained_on(tested)
        data = hydra.runtime.choices["data"] + (f",{PROTOCOL}" if plain["testset"] else "")
        if in_folder:
            data = Path(plain["testset"]).name
        label = plain["weights"] or _label(checkpoint, self.trained)
        name = plain["name"]
        if name is None:
            what = config_hash({"settings": self.hash(), "data": self.data["fingerprint"]})
            name = f"{model['name']},{label},{data},{what}"
        self.folder = Path(plain["output_dir"]) / "evaluate" / short_name(str(name), 200)
        task, places = hydra.overrides.task, {f"data.{name}" for name in PLACES}
        options = sorted(each for each in task if _is_in(each, {"model.", *RUN_OPTIONS}))
        self.arm = {"model": model["name"], "checkpoint": label, "options": ",".join(options) or "default"}
        asked = (each for each in task if _is_in(each, SET_OPTIONS) and setting_name(each) not in places)
        self.study = ",".join([data, *sorted(asked)])
        self.source = plain["testset"] if in_folder else ", ".join([data, *_places(plain["data"])])
        self.scale = "" if in_folder else plain["scale"]["name"]

    def hash(self) -> str:
        """Hash of every setting that the figures depend on, without the places of files: their content is in `data`."""
        places = ("checkpoint", "published", *WITHOUT_EFFECT, *PLACES)
        return config_hash(_without(self.config, (*places, *(("testset",) if self.config["data"] is None else ()))))

    def changed_data(self, clip: TestClip) -> str:
        """What has changed since this was made in the files of a clip, in words; "" if nothing has."""
        now = {part: stamps(contents) for part, contents in parts_of(clip, self.parts).items()}
        if now == parts_of(clip, self.stamps):
            return ""
        return what_changed(self.data, describe_data(self.parts, self.cache_dir))

    def record(self) -> CellRecord:
        """A new record that says who this evaluation is; `seed` is that of training, where that is known."""
        # Published weights say which net they are of; given again beside them, it is refused.
        words = [word for word in sys.argv[1:] if "published" not in self.config or not word.startswith("model=")]
        return CellRecord(
            folder=self.folder,
            experiment="evaluate",
            study=self.study,
            cell=self.folder.name,
            arm=self.arm,
            seed=self.trained.seed if self.trained else self.config["seed"],
            scale=self.scale,
            config_hash=self.hash(),
            data=self.data,
            trained_on=self.trained_on,
            command=shlex.join(["python", "-m", "experiments.evaluate", *words]),
            versions=describe_versions(),
            git_commit=git_commit(),
        )

    def _metrics(self) -> tuple[str, ...]:
        """What is measured on one clip at least."""
        names = [name for clip in self.clips for name in self.scoring.metrics_for(clip)]
        return tuple(dict.fromkeys(names))


def device_of(name: str, local_rank: int = 0) -> torch.device:
    """The device that a setting names.

    Raises:
        ValueError: it names none, or one that is not there.
    """
    check_choice("device", name, DEVICES)
    device = pick_device(name)
    return torch.device("cuda", local_rank % torch.cuda.device_count()) if device.type == "cuda" else device


def _places(data: dict[str, Any]) -> list[str]:
    """The folders of a config group `data`, in words."""
    named = (("people", data.get("root")), ("places", data.get("scenes")))
    return [f"{what} of {folder}" for what, folder in named if folder is not None]


def _scoring(plain: dict[str, Any]) -> Scoring:
    metrics = plain["metrics"]
    if metrics is not None and not isinstance(metrics, list):
        raise ValueError(f"metrics must be a list, as in metrics=[mad,dtssd], got {metrics!r}")
    return Scoring(None if metrics is None else tuple(metrics), str(plain["quantise"]), plain["region"])


def net_of(plain: dict[str, Any], given: Sequence[str], how: Streaming) -> tuple[Any, dict[str, Any]]:
    """The net and its options: those of the checkpoint, or the published ones, and what the command line changes.

    Args:
        plain: the settings model, checkpoint, weights, onnx, onnx_options, refiner, prm, seed.
        given: names of the settings that the command line gives.
        how: it is to be run.

    Raises:
        ValueError: the file is missing, damaged or of another net, or an option does not fit it.
    """
    model = plain["model"]
    if plain["onnx"] is not None:
        return _onnx_net(plain)
    if model is None:
        raise ValueError("say which net it is: model=NAME; only a checkpoint of ours (model.pt) knows it itself")
    changed = {
        name.split(".")[1] for name in given if name.startswith("model.")
    }  # an option whole, where a part is given
    changes = {name: model[name] for name in sorted(changed)}
    if plain["refiner"] is not None:
        changes["refiner"] = plain["refiner"]
    if plain["weights"] is not None:
        changes = {**published(plain["weights"]).options, **changes}
    if plain["prm"] is not None:
        if plain["prm"] not in PRM_MODES:
            raise ValueError(f"prm must be one of {', '.join(PRM_MODES)}, or null, got {plain['prm']!r}")
        changes["prm_mode"] = PRM_MODES[plain["prm"]]
    if plain["checkpoint"] is None:
        net = make_net(model | changes, plain["seed"])
        options = all_options(model["name"], model | changes)
    else:
        net, options = load_net(Path(plain["checkpoint"]), model["name"], **changes)
    if plain["prm"] in ("full", "threshold") and not options["prm"]:
        raise ValueError(f"prm={plain['prm']}: this {model['name']} was trained without patch refinement")
    if how.downsample_ratio is not None and "backbone_scale" in changes:
        raise ValueError("downsample_ratio and model.backbone_scale are the same setting; give one of them")
    return net, {"name": model["name"], **options}


def _onnx_net(plain: dict[str, Any]) -> tuple[OnnxNet, dict[str, Any]]:
    """The net of an ONNX file, and which of its inputs and outputs is what."""
    if useless := [name for name in ("refiner", "prm") if plain[name] is not None]:
        raise ValueError(f"onnx={plain['onnx']}: {' and '.join(useless)} cannot be set, the file holds one net")
    net = load_onnx(Path(plain["onnx"]), plain["onnx_options"])
    return net, {"name": "onnx", **asdict(net.ports)}


def _published(name: str) -> dict[str, Any]:
    """What the record tells of published weights, beside the SHA-256 of the file; None: no published one is known."""
    weights = published(name)
    return {"name": name, "sha256": weights.sha256, "licence": weights.licence, "source": weights.source}


def _label(checkpoint: Path | None, trained: CellRecord | None) -> str:
    """What a checkpoint is called: what was trained and how, without its seed, or the file."""
    if checkpoint is None:
        return "none"
    if trained is None:
        return checkpoint.parent.name if checkpoint.name == "model.pt" else checkpoint.stem
    arm = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in trained.arm.items()]
    scale = "" if trained.scale in ("", "tiny") else f"scale={trained.scale}"
    return ",".join(filter(None, [trained.experiment, trained.study, scale, *sorted(arm)]))


def setting_name(override: str) -> str:
    """Which setting an override of the command line sets."""
    return override.lstrip("+~").partition("=")[0]


def _is_in(override: str, places: Collection[str]) -> bool:
    """Whether an override sets one of these, or something in a group that is given as "group."."""
    group, dot, _ = setting_name(override).partition(".")
    return group + dot in places


def _without(settings: Any, names: Collection[str]) -> Any:
    if not isinstance(settings, dict):
        return settings
    return {name: _without(value, names) for name, value in settings.items() if name not in names}
