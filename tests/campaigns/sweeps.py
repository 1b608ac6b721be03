"""Run every sweep file through the real `wandb sweep` and `wandb agent`, at the smallest scale.

    python -m tests.campaigns.sweeps                                  through a server of its own
    python -m tests.campaigns.sweeps --files brm_ablation prm_grid    some of the files
    python -m tests.campaigns.sweeps --server http://127.0.0.1:8080   through a W&B server, with WANDB_API_KEY

Each file: two runs at least, exit status 0, history and summary on the server, records complete. The first file: two
agents at once, which must take different points, and a report from what the server has, which is that of the disk and
comes to the server as an artifact. With the server of its own also: a second sweep over complete cells, and an outage
in the middle of a run after which `wandb sync` brings every row. All files: also a sweep without W&B, by one worker
and by two.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from experiments.records.cell_record import CellRecord
from tests.campaigns.kills import cell_difference
from tests.campaigns.wandb_answers import Run
from tests.campaigns.wandb_server import WandbServer

CHECKOUT = Path(__file__).resolve().parents[2]
SWEEPS = CHECKOUT / "sweeps"
PROJECT = f"sweep-check-{time.time():.0f}"  # a new one: runs of an earlier check would mix in
SMALL = ("scale=smoke", "scale.test_clips=1", "scale.val_clips=1", "scale.test_frames=2")
RUNS = 2  # of an agent
PATIENCE = 1200  # seconds for one agent or run


def main() -> int:
    """Check the files of the command line; 0 if all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="its URL; default: one of its own")
    parser.add_argument("--files", nargs="*", help="names of sweep files; default: all")
    parser.add_argument("--jobs", type=int, default=3, help="files at once")
    options = parser.parse_args()
    names = options.files or sorted(path.stem for path in SWEEPS.glob("*.yaml"))
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary, WandbServer() as server:
        folder, url = Path(temporary), options.server or server.url
        checks: list[Callable[[], str]] = [partial(check_file, name, url, folder) for name in names]
        checks[0] = partial(check_file, names[0], url, folder, agents=2)
        failed = run_all(checks, options.jobs)
        if not options.server:  # which may give another point first, and must not die
            failed += run_all([partial(check_rerun, names[0], url, folder)], 1)
            failed += run_all([partial(check_outage, server, folder)], 1)
        if not options.files:
            failed += run_all([partial(check_workers, folder)], 1)
        if server.unknown:
            failed += 1
            print(f"FAILED  the server has no answer to {', '.join(sorted(set(server.unknown)))}")
    result = f"{failed} FAILED" if failed else "all well"
    print(f"{len(names)} sweep files in {time.monotonic() - begin:.0f} s: {result}")
    return 1 if failed else 0


def run_all(checks: list[Callable[[], str]], jobs: int) -> int:
    """Run checks, a few at once, and print a line each; how many failed."""
    failed = 0
    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(check) for check in checks]:
            try:
                print(f"ok      {future.result()}", flush=True)
            except Exception as error:  # of whatever kind: the other checks go on
                failed += 1
                print(f"FAILED  {type(error).__name__}: {error}", flush=True)
    return failed


def check_file(name: str, url: str, folder: Path, agents: int = 1) -> str:
    """One sweep file from `wandb sweep` to records; what was found, in a line."""
    entity_path, copy = start_sweep(name, url, folder)
    command = ["wandb", "agent", "--count", str(RUNS), entity_path]
    processes = [spawn(command, url, folder / name / f"agent{number}") for number in range(agents)]
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, f"{name}: wandb agent ended with {process.returncode}: {output[-1500:]}"
    runs = read_runs(entity_path, url)
    points = {json.dumps({key: run.config.get(key) for key in copy["parameters"]}, sort_keys=True) for run in runs}
    assert len(runs) == RUNS * agents, f"{name}: {len(runs)} runs, not {RUNS * agents}: {outputs[0][-1500:]}"
    assert len(points) == len(runs), f"{name}: two runs had the same point: {points}"
    try:
        rows = [check_run(name, run) for run in runs]
    except AssertionError as error:
        raise AssertionError(f"{error}: {outputs[0][-3000:]}") from error
    records = [json.loads(path.read_text()) for path in (folder / name / "outputs").glob("*/*/record.json")]
    assert [record["status"] for record in records] == ["complete"] * len(runs), f"{name}: {records}"
    how = "1 agent"
    if agents > 1:
        how = f"{agents} agents"
        check_report(name, entity_path.rpartition("/")[0], url, folder)
    return f"{name}: {how}, {len(runs)} runs, {sum(rows)} history rows, exit status 0"


def check_report(name: str, project: str, url: str, folder: Path) -> None:
    """A report of what the server has holds the disk's records and scores, and comes to the server itself."""
    (experiment,) = {path.parents[1].name for path in (folder / name / "outputs").glob("*/*/record.json")}
    for source in ([], [f"wandb={project}", "logger.mode=online"]):
        places_of = [*places(folder / name, folder), f"results_dir={folder / name}/{'server' if source else 'disk'}"]
        command = [sys.executable, "-m", "experiments.report", f"+exp={experiment}", *SMALL, *places_of, *source]
        process = spawn(command, url, folder / name / "report")
        output = process.communicate(timeout=PATIENCE)[0]
        assert process.returncode == 0, f"{name}: the report ended with {process.returncode}: {output[-1500:]}"
    for path in (folder / name / "outputs" / experiment).glob("*/*"):
        if path.name in ("record.json", "metrics.parquet", "memory.parquet", "baselines.parquet"):
            back = folder / name / "outputs" / "from_wandb" / path.relative_to(folder / name / "outputs")
            assert back.read_bytes() == path.read_bytes(), f"{path.parent.name}/{path.name} differs on the server"
    disk, server = (next((folder / name / each).glob("*/*/scores.csv")) for each in ("disk", "server"))
    assert disk.read_bytes() == server.read_bytes(), f"{name}: the server's records give another table"
    (run,) = api(url).runs(project, filters={"group": experiment, "jobType": "report"})
    assert "report" in [each.type for each in run.logged_artifacts()], f"{name}: no report among the artifacts"
    (page,) = (file for file in run.files() if file.name.endswith(".html"))
    page.download(root=str(folder / name), replace=True)
    copy = (folder / name / page.name).read_bytes()
    assert copy == server.with_name("report.html").read_bytes(), f"{name}: another report on the server"


def check_rerun(name: str, url: str, folder: Path) -> str:
    """A second sweep over cells that are complete: they are logged again, not trained."""
    again, first = start_sweep(name, url, folder, "again")[0], folder / name / "outputs"
    complete = [path for path in first.glob("*/*/record.json") if is_complete(path)]
    before = {path: path.read_text() for path in complete}
    output = spawn(["wandb", "agent", "--count", "1", again], url, folder / name / "again").communicate()[0]
    (run,) = read_runs(again, url)
    check_run(f"{name} again", run)
    assert all(path.read_text() == text for path, text in before.items()), f"{name} again: a record changed: {output}"
    return f"{name} again: a complete cell was logged from its record"


def is_complete(path: Path) -> bool:
    """Whether a record says so."""
    return bool(json.loads(path.read_text())["status"] == "complete")


def check_outage(server: WandbServer, folder: Path) -> str:
    """The server dies while a cell trains and comes back after it; what `wandb sync` brings, in a line."""
    options = ["logger.mode=online", "logger.finish_timeout=5", "scale.steps=40", "trunk=none"]
    options += places(folder / "outage", folder)
    command = [sys.executable, "-m", "experiments.run", "+exp=brm_ablation", "hydra.mode=RUN", *SMALL, *options]
    process = spawn(command, server.url, folder / "outage")
    cells = folder / "outage" / "outputs" / "brm_ablation"
    wait_for(lambda: process.poll() is not None or any(map(trains, cells.glob("*/progress"))))
    server.broken = lambda request: True
    output = process.communicate(timeout=PATIENCE)[0]
    server.broken = lambda request: False
    assert process.returncode == 0, f"outage: the run ended with {process.returncode}: {output[-1500:]}"
    found = re.search(r"is sent, as run (\S+), by: (wandb sync \S+)$", output, flags=re.MULTILINE)
    assert found, f"outage: no line says how to sync: {output[-1500:]}"
    before = [len(losses(run)) for run in server.store.runs.values() if found[1].startswith(run.name)]
    sync = spawn(found[2].split(), server.url, folder / "outage")
    told = sync.communicate(timeout=PATIENCE)[0]
    assert sync.returncode == 0, f"outage: wandb sync ended with {sync.returncode}: {told[-1500:]}"
    steps = losses(server.run(found[1]))
    assert steps == list(range(1, 41)), f"outage: after wandb sync the server has steps {steps}"
    return (
        f"outage: run ended with 0; the server had {sum(before)} of 40 steps before and {len(steps)} after wandb sync"
    )


def check_workers(folder: Path) -> str:
    """`experiments.sweep` leaves the records and the table of one worker with two; needs no server."""
    for workers in (1, 2):
        of_these = folder / f"workers{workers}"
        command = [sys.executable, "-m", "experiments.sweep", "sweeps/brm_ablation.yaml", "--workers", str(workers)]
        process = spawn([*command, "--points", "0-1", *SMALL, *places(of_these, folder)], "", of_these)
        output = process.communicate(timeout=PATIENCE)[0]
        assert process.returncode == 0, f"{workers} workers: ended with {process.returncode}: {output[-1500:]}"
    one, two = (sorted(folder.glob(f"workers{number}/outputs/*/*/record.json")) for number in (1, 2))
    assert [path.parent.name for path in one] == [path.parent.name for path in two], "other cells with two workers"
    assert len(one) == 2, f"{len(one)} cells, not 2"
    for first, second in zip(one, two, strict=True):
        difference = cell_difference(CellRecord.load(first.parent), CellRecord.load(second.parent))
        assert difference == "", f"{first.parent.name}: {difference}"
    tables = [next(folder.glob(f"workers{number}/results/*/*/scores.csv")).read_bytes() for number in (1, 2)]
    assert tables[0] == tables[1], "another table with two workers"
    return "two workers left the records and the table of one"


def trains(progress: Path) -> bool:
    """Whether a cell has begun to train; rendering comes first."""
    return progress.read_text(encoding="utf-8").startswith(("matting", "trunk of matting"))


def check_run(name: str, run: Any) -> int:
    """One run on the server: finished, with losses, scores and test figures; its number of history rows."""
    rows = list(run.scan_history())
    assert run.state == "finished", f"{name}: run {run.id} is {run.state}"
    assert any("train/loss" in row for row in rows), f"{name}: run {run.id} has no losses in {len(rows)} rows"
    assert any("val/mad" in row for row in rows), f"{name}: run {run.id} has no validation scores"
    summary = dict(run.summary)
    assert isinstance(summary.get("test/mad"), float), f"{name}: run {run.id} has no test/mad in its summary"
    assert isinstance(summary.get("val/mad"), float), f"{name}: run {run.id} has no val/mad in its summary"
    return len(rows)


def start_sweep(name: str, url: str, folder: Path, suffix: str = "") -> tuple[str, dict[str, Any]]:
    """Register a small copy of a sweep file: ENTITY/PROJECT/ID and the copy."""
    copy = yaml.safe_load((SWEEPS / f"{name}.yaml").read_text(encoding="utf-8"))
    place = copy["command"].index("${args_no_hyphens}")
    copy["command"][place:place] = [*SMALL, *places(folder / name, folder)]
    path = folder / f"{name}{suffix}.yaml"
    path.write_text(yaml.safe_dump(copy, sort_keys=False), encoding="utf-8")
    process = spawn(["wandb", "sweep", "--project", PROJECT, str(path)], url, folder / name)
    output = process.communicate(timeout=PATIENCE)[0]
    found = re.search(r"wandb agent (\S+/\S+/\w+)", output)
    assert process.returncode == 0, f"{name}: wandb sweep ended with {process.returncode}: {output[-1500:]}"
    assert found, f"{name}: wandb sweep told no agent command: {output[-1500:]}"
    return found[1], copy


def places(folder: Path, shared: Path) -> list[str]:
    """Where a run writes; rendered people are shared."""
    return [f"output_dir={folder}/outputs", f"results_dir={folder}/results", f"data.cache_dir={shared}/cache"]


def read_runs(path: str, url: str) -> list[Any]:
    """The runs of a sweep as the server has them."""
    return list(api(url).sweep(path).runs)


def losses(run: Run) -> list[int]:
    """Steps whose loss the server has."""
    return sorted(row["trainer/global_step"] for row in run.history if row.get("train/loss") is not None)


def api(url: str) -> Any:
    """The real client's reading side."""
    os.environ.update(server_variables(url))
    import wandb

    return wandb.Api(timeout=60)


def server_variables(url: str) -> dict[str, str]:
    """What makes a client talk to the server."""
    key = os.environ.get("WANDB_API_KEY", "0" * 40)
    return {"WANDB_BASE_URL": url, "WANDB_API_KEY": key, "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "false"}


def spawn(command: list[str], url: str, folder: Path) -> subprocess.Popen[str]:
    """Start a command in the checkout, with this Python's programs first and W&B's own files under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= server_variables(url) | {"WANDB_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def wait_for(ready: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
