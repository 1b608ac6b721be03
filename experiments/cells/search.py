"""The points of a Bayes sweep without a server: Optuna proposes, its journal remembers.

`OUTPUT_DIR/sweeps/NAME-HASH.jsonl` is a study of Optuna's, every point that was given out a trial of it, so that the
same command goes on after an interruption and several processes share one search.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cells.sweep_files import Point, SweepFile, distribution
from experiments.records.cell_record import CellRecord
from experiments.records.identity import config_hash

if TYPE_CHECKING:
    from optuna import Study as Trials

# What Optuna raises on lines that it has not written.
NO_JOURNAL = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError)


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
        self.cap, self.seed, self.score = sweep.run_cap, seed, score
        self.goal = sweep.metric.get("goal", "minimize")
        self.space: dict[str, Any] = {name: _distribution(name, spec) for name, spec in sweep.parameters.items()}
        about = config_hash({"parameters": sweep.parameters, "command": sweep.command, "metric": sweep.metric})
        self.journal = folder / f"{sweep.name}-{about}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.done = 0  # points of the journal that this process has been given

    def next(self) -> Point | None:
        """A point of an earlier or another process first, then a new one; None after `run_cap` points.

        Raises:
            ValueError: the journal is not one of Optuna's.
        """
        from optuna.samplers import TPESampler

        with self.journal.open("ab") as alone:  # asking takes Optuna several lines
            fcntl.flock(alone, fcntl.LOCK_EX)
            try:
                trials = self._trials()
                known = trials.get_trials(deepcopy=False)
            except NO_JOURNAL as error:
                raise ValueError(f"{self.journal} is no journal of this search: move it away to begin anew") from error
            # A process that was killed while it asked has left a trial with fewer values, and run nothing.
            given = [trial for trial in known if trial.params.keys() == self.space.keys()]
            self.done += 1
            if self.done <= len(given):
                return dict(given[self.done - 1].params)
            if len(given) >= self.cap:
                return None
            for trial in given:
                if not trial.state.is_finished() and (score := self.score(trial.params)) is not None:
                    trials.tell(trial.number, score)
            # Another seed for each point: else the first draws of a resumed search repeat those of the first one.
            trials.sampler = TPESampler(seed=self.seed * 100_003 + len(given), constant_liar=True)
            return dict(trials.ask(self.space).params)

    def _trials(self) -> Trials:
        """The study of the journal, begun if it is empty; those still running count as bad, so that none is near."""
        from optuna import create_study
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
        from optuna.study import StudyDirection

        # Optuna's other lock, a link, is never freed of a killed process where the path is relative.
        backend = JournalFileBackend(str(self.journal), JournalFileOpenLock(str(self.journal)))
        return create_study(
            storage=JournalStorage(backend),
            study_name=self.journal.stem,
            direction=StudyDirection[self.goal.upper()],
            load_if_exists=True,
        )


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


def read_score(record: CellRecord, metric: str) -> float | None:
    """The score of a complete cell in a metric as W&B names it: "val/mad", "train/loss", "test/mad".

    Of those that training logs the last value, as in the summary of a W&B run: for "val/…" that of the tested weights.
    """
    if record.status != "complete":
        return None
    if metric.startswith("test/"):
        return record.metrics.get(metric.removeprefix("test/"))
    history, column = record.read_history(), metric.removeprefix("train/")
    values = [] if history is None or column not in history else list(history[column].dropna())
    return float(values[-1]) if values else None
