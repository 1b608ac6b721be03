"""Write a fixed test set by RVM's protocol, so that any tool scores the very same frames.

python -m experiments.make_testset data=video_mattes data.root=PEOPLE data.scenes=PLACES output=DIR
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig, OmegaConf

from datamodules.testset import CompositeTestSet, TestClip
from datamodules.testset.plans import longest
from datamodules.testset.writing import write_test_set
from experiments.command.composing import run_hydra
from experiments.command.errors import ends_with_one_line
from experiments.command.progress import ClipProgress
from experiments.records.world import describe_versions
from experiments.scoring.sets import composite_test_set, source_of_test


def main() -> int:
    """Write the test set of the command line."""

    def make(config: DictConfig) -> None:
        plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        asked = plain["testset"]["frames"]
        test_set = composite_test_set(plain["data"], plain["testset"])
        for stratum, count in Counter(plan.stratum for plan in test_set.plans).items():
            by_camera = any(plan.camera_seed is not None for plan in test_set.plans if plan.stratum == stratum)
            size = f"{test_set.num_frames} frames, {test_set.size[1]}×{test_set.size[0]}"
            print(f"{stratum}: {count} clips of {size}{', a camera moves over stills' if by_camera else ''}")
        if test_set.num_frames < asked:
            print(f"not {asked} frames, since {_shortest(test_set, plain['testset'])} has no more")
        with ClipProgress(len(test_set), len(test_set) * test_set.num_frames) as progress:

            def report(clip: TestClip, frames: int) -> None:
                progress.add_frames(frames)
                if progress.frames % clip.num_frames == 0:
                    progress.add_clip()

            write_test_set(test_set, plain["output"], manifest_of(test_set, plain), plain["format"], report)
        print(f"test set: {plain['output']}")

    for error in run_hydra(make, "make_testset"):
        raise error
    return 0


def _shortest(test_set: CompositeTestSet, options: dict[str, Any]) -> str:
    shortest = longest(test_set.foregrounds, test_set.backgrounds, options["strata"], options["moving_camera"])
    return "" if shortest is None else shortest[1]


def manifest_of(test_set: CompositeTestSet, config: dict[str, Any]) -> dict[str, Any]:
    """All that decides the set's pixels: sources, options, the draws of each clip, versions."""
    sources = {key: source_of_test(config["data"][key]) for key in ("source", "backgrounds")}
    for source in sources.values():
        source.pop("cache_dir", None)
    return {
        "format": 1,
        "testset": config["testset"],
        **sources,
        "versions": describe_versions(),
        "clips": [asdict(plan) for plan in test_set.plans],
    }


if __name__ == "__main__":
    ends_with_one_line(main)
