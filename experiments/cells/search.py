"""The points of a Bayes sweep without a server: Optuna proposes, a journal remembers.

`OUTPUT_DIR/sweeps/NAME-HASH.jsonl` holds every point that was given out, so that the same command goes on after
an interruption and several processes share one search.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from experiments.cells.sweep_files import Point, SweepFile, distribution
from experiments.records.cell_record import CellRecord
from experiments.records.identity import config_hash


class Search:
    """Asks for one point after another.

    Args:
        sweep: of method bayes.
        folder: where the journal lies.
        seed: of the proposals.
        score: the metric of a point, None while it is not known.

    Raises:
        ValueError: Optuna is missing, or the file says no run_cap.
    """

    def __init__(self, sweep: SweepFile, folder: Path, seed: int, score: Callable[[Point], float | None]) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise ValueError("a bayes sweep needs Optuna: pip install 'portrait-matting-lab[sweep]'") from error
        if not sweep.run_cap:
            raise ValueError(f"{sweep.path}: a bayes sweep needs run_cap, how many points to try")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.sweep, self.seed, self.score = sweep, seed, score
        self.space: dict[str, Any] = {name: _distribution(name, spec) for name, spec in sweep.parameters.items()}
        about = config_hash({"parameters": sweep.parameters, "command": sweep.command, "metric": sweep.metric})
        self.journal = folder / f"{sweep.name}-{about}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.done = 0  # points of the journal that this process has been given

    def next(self) -> Point | None:
        """A point of an earlier or another process first, then a new one; None after `run_cap` points."""
        with self.journal.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = self._read(file)
            self.done += 1
            if self.done <= len(known):
                return known[self.done - 1]
            if len(known) >= (self.sweep.run_cap or 0):
                return None
            point = self._propose(known)
            file.write(json.dumps(point) + "\n")
            return point

    def _read(self, lines: Iterable[str]) -> list[Point]:
        """The points of the journal; a torn last line is none."""
        from optuna.trial import create_trial

        try:
            points = [json.loads(line) for line in lines if line.endswith("\n")]
            for point in points:  # refuses what the search could not have proposed
                create_trial(params=point, distributions=self.space, value=0.0)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{self.journal} is no journal of this search: move it away to begin anew") from error
        return points

    def _propose(self, known: list[Point]) -> Point:
        """A new point, from the scores of all that are known; those still running count as given out."""
        import optuna

        minimise = self.sweep.metric.get("goal", "minimize") == "minimize"
        # Another seed for each point: else the first draws of a resumed search repeat those of the first one.
        sampler = optuna.samplers.TPESampler(seed=self.seed * 100_003 + len(known), constant_liar=True)
        study = optuna.create_study(direction="minimize" if minimise else "maximize", sampler=sampler)
        for point in known:
            score = self.score(point)
            if score is None:
                study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
            else:
                study.add_trial(optuna.trial.create_trial(params=point, distributions=self.space, value=score))
        return study.ask(self.space).params


def _distribution(name: str, spec: dict[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "value" in spec or "values" in spec:
        return CategoricalDistribution(spec.get("values", [spec.get("value")]))
    low, high = spec["min"], spec["max"]
    kind = distribution(name, spec)
    if kind == "int_uniform":
        return IntDistribution(low, high)
    if kind == "q_uniform":
        return FloatDistribution(low, high, step=spec.get("q", 1))
    return FloatDistribution(low, high, log=kind == "log_uniform_values")


def read_score(record: CellRecord, metric: str, goal: str = "minimize") -> float | None:
    """The best value that a cell reached in a metric as W&B names it: "val/mad", "train/loss", "test/mad"."""
    if record.status != "complete":
        return None
    if metric.startswith("test/"):
        return record.metrics.get(metric.removeprefix("test/"))
    history, column = record.read_history(), metric.removeprefix("train/")
    values = [] if history is None or column not in history else list(history[column].dropna())
    return None if not values else float(min(values) if goal == "minimize" else max(values))
