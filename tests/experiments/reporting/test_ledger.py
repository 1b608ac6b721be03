"""The ledger of published claims."""

from itertools import chain
from pathlib import Path

import pytest
import yaml

from experiments.reporting.arms import arm_text
from experiments.reporting.averages import METRICS
from experiments.reporting.ledger import (
    Claim,
    Contrast,
    Count,
    Finding,
    disagreements_table,
    ledger,
    ledger_table,
    of_experiment,
    papers,
    published,
)

CONFIGS = Path(__file__).parents[3] / "experiments" / "configs"
EXPERIMENTS = sorted((CONFIGS / "exp").glob("*.yaml"))
NETS = ("MODNet", "RVM", "BackgroundMattingV2", "Context Motion Network")
TESTED = [claim for claim in published() if claim.contrasts]
COUNTED = {claim.name: claim for claim in published() if claim.count and claim.count.of == "parameters"}
COLUMNS = ["arm", "metric", "stratum", "seeds", "paired_seeds", "foregrounds", "mean", "relative",
           "relative_low", "relative_high", "verdict", "emptied_difference", "emptied_low", "emptied_high"]  # fmt: skip


def test_the_papers_make_many_claims_and_disagree_in_places() -> None:
    assert len(published()) >= 30
    assert len(disagreements_table().rows) >= 4
    assert {claim.paper for claim in published()} == papers().keys()


@pytest.mark.parametrize("claim", TESTED, ids=lambda claim: claim.name)
def test_a_claim_asks_for_arms_metrics_and_conditions_that_its_experiment_has(claim: Claim) -> None:
    config = yaml.safe_load((CONFIGS / "exp" / f"{claim.experiment}.yaml").read_text(encoding="utf-8"))
    swept = config["hydra"]["sweeper"]["params"]
    settings = {f"{key}={value}" for key, values in swept.items() for value in str(values).split(",")}
    base = yaml.safe_load((CONFIGS / "data" / "base.yaml").read_text(encoding="utf-8"))
    strata = config["experiment"].get("strata", base["test_strata"])
    baseline = arm_text(config["experiment"]["baseline"])
    for contrast in claim.contrasts:
        words = contrast.arm.split(",")
        assert set(words) <= settings
        assert contrast.arm == arm_text(dict(word.split("=") for word in words)), "as `scores.csv` has it"
        assert contrast.metric in METRICS
        assert contrast.stratum in ("all", *strata)
        assert contrast.state or contrast.arm != baseline, "an arm is not compared with itself"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_that_states_a_claim_has_a_verdict_on_one_and_no_other_has(path: Path) -> None:
    experiment = yaml.safe_load(path.read_text(encoding="utf-8"))["experiment"]
    assert bool(experiment.get("claim")) == any(claim.experiment == experiment["name"] for claim in TESTED)


@pytest.mark.parametrize("claim", published(), ids=lambda claim: claim.name)
def test_a_claim_is_understood_alone(claim: Claim) -> None:
    assert any(net in claim.text for net in NETS)
    assert claim.replication
    assert bool(claim.tested_by) != bool(claim.untestable)


def test_what_tests_a_claim_is_told_with_its_direction() -> None:
    told = {claim.name: claim.tested_by for claim in published()}
    assert told["brm_error"] == "model.brm=true against model.brm=false, MAD, better"
    assert told["brm_prior"] == "memory=paper with its state emptied against itself, MAD, worse"
    assert told["bgm_small_motion"] == "model=background_matting_v2 against model=modnet, MAD (speed 3), worse"
    assert told["bgm_share"].endswith(", MAD, not better")
    assert told["rvm_parameters"] == "parameters of rvm, 3 749 000 ± 500"
    assert told["brm_lightweight"] == "parameters of modnet_v over those of modnet_v (brm=false), at most 1.05"


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_are_those_that_the_papers_print(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.reporting.ledger.published", lambda: (COUNTED[name],))
    (entry,) = ledger(tmp_path)
    assert entry.finding is Finding.SUPPORTED, entry.evidence


def test_a_count_beyond_the_last_printed_digit_contradicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Claim("a", "rvm", "", "", "", count=Count("parameters", "rvm", value=3_748_000, within=500))
    monkeypatch.setattr("experiments.reporting.ledger.published", lambda: (claim,))
    (entry,) = ledger(tmp_path)
    assert (entry.finding, entry.evidence) == (Finding.CONTRADICTED, "counted: 3 748 633 parameters")


def test_multiply_adds_are_counted_of_a_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = next(claim for claim in published() if claim.name == "modnet_work")
    monkeypatch.setattr("experiments.reporting.ledger.published", lambda: (claim,))
    (entry,) = ledger(tmp_path)
    assert (entry.finding, entry.evidence) == (Finding.SUPPORTED, "counted: 8.70 G")


def scores(folder: Path, **changes: object) -> Path:
    """A `scores.csv` of one arm."""
    row = dict.fromkeys(COLUMNS, "") | {
        "arm": "a=1", "metric": "mad", "stratum": "all", "seeds": "3", "paired_seeds": "3", "foregrounds": "20",
        "mean": "10", "relative": "-0.2", "relative_low": "-0.3", "relative_high": "-0.1", "verdict": "better",
    }  # fmt: skip
    row |= {key: str(value) for key, value in changes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scores.csv"
    path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n", encoding="utf-8")
    return path


NOTHING, SAME = {"verdict": "no difference shown"}, {"verdict": "the same within ±2 %"}
USED = {"emptied_difference": 2, "emptied_low": 1, "emptied_high": 3}
USELESS = {"emptied_difference": 2, "emptied_low": -1, "emptied_high": 3}


@pytest.mark.parametrize(
    ("changes", "contrasts", "finding"),
    [
        ({}, [("better", "")], "supported"),
        ({}, [("worse", "")], "contradicted"),
        ({}, [("same", "")], "contradicted"),
        ({"verdict": "worse"}, [("better", "")], "contradicted"),
        (NOTHING, [("better", "")], "no difference shown"),
        (NOTHING, [("same", "")], "no difference shown"),
        (SAME, [("same", "")], "supported"),
        (SAME, [("better", "")], "contradicted"),
        (SAME, [("not_better", "")], "supported"),
        ({"verdict": "worse"}, [("not_better", "")], "supported"),
        ({}, [("not_better", "")], "contradicted"),
        (NOTHING, [("not_better", "")], "no difference shown"),
        ({"verdict": "worse"}, [("same", "")], "contradicted"),
        ({"equivalent": True}, [("same", "")], "supported"),
        ({"equivalent": True}, [("better", "")], "supported"),
        ({"equivalent": True, "paired_seeds": 2}, [("same", "")], "too few seeds"),
        ({"paired_seeds": 2}, [("better", "")], "too few seeds"),
        ({"verdict": "not testable"}, [("better", "")], "not run"),
        ({"verdict": "helps"}, [("better", "")], "not run"),
        ({"verdict": "", "paired_seeds": ""}, [("better", "")], "too few seeds"),
        ({"seeds": 2} | USED, [("worse", "emptied")], "too few seeds"),
        ({"paired_seeds": 1, "same_weights": True}, [("better", "")], "supported"),
        (USED, [("worse", "emptied")], "supported"),
        (USELESS, [("worse", "emptied")], "no difference shown"),
        (NOTHING | USED, [("better", ""), ("worse", "emptied")], "supported in part"),
        ({"verdict": "worse"} | USED, [("better", ""), ("worse", "emptied")], "contradicted"),
        ({"arm": "a=2"}, [("better", "")], "not run"),
    ],
)
def test_the_finding_follows_the_verdicts_of_the_report(
    changes: dict[str, object],
    contrasts: list[tuple[str, str]],
    finding: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = tuple(Contrast("a=1", "mad", expect, state=state) for expect, state in contrasts)  # type: ignore[arg-type]
    claim = Claim("c", "rvm", "Table 1", "It is better.", "1 → 2", experiment="e", contrasts=asked)
    monkeypatch.setattr("experiments.reporting.ledger.published", lambda: (claim,))
    (entry,) = of_experiment("e", scores(tmp_path, **changes))
    assert entry.finding == finding


def test_a_claim_of_published_weights_is_tested_by_them_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (Contrast("a=1", "mad", "better"),)
    claim = Claim("c", "rvm", "", "", "", experiment="e", weights=["theirs"], contrasts=asked)
    monkeypatch.setattr("experiments.reporting.ledger.published", lambda: (claim,))
    scores(tmp_path / "e" / "tiny,model.weights=ours.pt", weights="ours.pt")
    assert ledger(tmp_path)[0].finding is Finding.NOT_RUN
    scores(tmp_path / "e" / "tiny,model.weights=theirs", weights="theirs")
    assert ledger(tmp_path)[0].finding is Finding.SUPPORTED


def test_own_reports_of_the_largest_scale_come_before_others_and_smoke_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claim("c", "rvm", "", "", "", experiment="e", contrasts=(Contrast("a=1", "mad", "better"),))
    monkeypatch.setattr("experiments.reporting.ledger.published", lambda: (claim,))
    found = []
    for place in ("e/smoke", "reference/e/tiny", "e/tiny", "reference/e/small,trainer=gpu"):
        scores(tmp_path / place, seeds=len(found) + 3)
        found.append(ledger(tmp_path)[0].evidence)
    assert found[0] == ""
    assert [text.partition(";")[2] for text in found[1:]] == [
        f" 4 seeds × 20 people (scale=tiny, {tmp_path}/reference/e/tiny)",
        f" 5 seeds × 20 people (scale=tiny, {tmp_path}/e/tiny)",
        f" 6 seeds × 20 people (scale=small, {tmp_path}/reference/e/small,trainer=gpu)",
    ]


@pytest.mark.parametrize("parts", [{}, {"untestable": "no data", "count": Count("parameters", "rvm", value=1)}])
def test_a_claim_is_tested_in_one_way(parts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="claim c: give it contrasts, a count or why it is untestable, one of them"):
        Claim("c", "rvm", "", "", "", **parts)  # type: ignore[arg-type]


def test_every_row_of_the_ledger_has_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uncounted = tuple(claim for claim in published() if not claim.count)
    monkeypatch.setattr("experiments.reporting.ledger.published", lambda: uncounted)
    table = ledger_table(ledger(tmp_path))
    commands = {row[-1] for row in table.rows}
    assert all(command.startswith("python -m experiments.") for command in commands)
    assert len(set(chain.from_iterable(table.rows)) & {"not run", "not testable here"}) == 2
