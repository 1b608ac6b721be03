from __future__ import annotations

import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from experiments.statistics.strata import summarise
from lightning_modules import metrics
from lightning_modules.metrics.scores import score_frames
from lightning_modules.metrics.table import ALWAYS, FIGURES, METRICS, PRIMARY, Metric


@pytest.mark.parametrize("metric", [row for row in FIGURES.values() if row.derived], ids=lambda metric: metric.key)
def test_a_second_reading_differs_from_its_column_in_the_first_frame_alone(metric: Metric) -> None:
    column = METRICS[metric.column]
    assert (metric.function, metric.needs, metric.scale, metric.unit, metric.higher_is_better) == (
        column.function, column.needs, column.scale, column.unit, column.higher_is_better,
    )  # fmt: skip
    assert (column.first_frame, metric.first_frame) == ("zero", "undefined")


def test_what_every_record_holds_is_measured_on_every_clip() -> None:
    assert ALWAYS == ("mad", "mse", "dtssd")
    assert set(PRIMARY) <= set(ALWAYS)
    assert not any(METRICS[name].widest or {"foreground", "flow"} & set(METRICS[name].needs) for name in ALWAYS)


@pytest.mark.parametrize("name", metrics.__all__)
def test_every_class_of_the_package_is_there(name: str) -> None:
    assert getattr(metrics, name).__name__ == name


def test_there_is_no_other_name_in_the_package() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'LPIPS'"):
        metrics.LPIPS  # type: ignore[attr-defined]  # noqa: B018


def test_a_new_metric_is_a_function_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    opacity = SimpleNamespace(opacity=lambda pred: pred.double().mean((2, 3, 4)))
    monkeypatch.setitem(sys.modules, "lightning_modules.metrics.opacity", opacity)
    row = Metric("opacity", "Opacity", "%", 100.0, "opacity.opacity", ("pred",), first_frame="undefined")
    for table in (METRICS, FIGURES):
        monkeypatch.setitem(table, row.key, row)
    found = score_frames(torch.full((1, 3, 1, 4, 4), 0.5), torch.zeros(1, 3, 1, 4, 4))
    assert list(found)[-1] == "opacity"
    frames = pd.DataFrame(
        {"clip": "a", "scene": "b", "stratum": "c", "frame": range(3), "opacity": found["opacity"][0]}
    )
    assert summarise(frames) == {"opacity": 50}


@pytest.mark.parametrize("name", METRICS)
def test_codes_are_measured_as_the_numbers_that_they_stand_for(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    alphas = torch.randint(0, 256, (2, 1, 2, 1, 24, 32), generator=draw).byte()
    colours = torch.randint(0, 256, (2, 1, 2, 3, 24, 32), generator=draw).byte()
    flow = dict.fromkeys(("flow", "true_flow"), torch.ones(1, 2, 2, 24, 32))

    def figures(alphas: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
        given = {"foreground": colours[0], "true_foreground": colours[1], **flow}
        return score_frames(alphas[0], alphas[1], **given, metrics=[name])[name]

    found = figures(alphas.double() / 255, colours.double() / 255)
    torch.testing.assert_close(figures(alphas, colours), found, rtol=1e-5, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "needed"), [("fgr_mse", "foreground and true_foreground"), ("epe", "flow and true_flow")]
)
def test_a_metric_says_what_it_lacks(name: str, needed: str) -> None:
    with pytest.raises(ValueError, match=f"{name} needs {needed}"):
        score_frames(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2, 1, 4, 4), metrics=[name])
    with pytest.raises(ValueError, match="no metric is called"):
        score_frames(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 2, 1, 4, 4), metrics=["dtssd_later"])
