"""What a W&B server keeps and answers: runs, files, artifacts, sweeps and agents, as wandb 0.31 asks for them.

A GraphQL request is answered by the name of its operation, with all that any query wants of the thing; clients pass
over what they did not ask for.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import yaml

from experiments.cells.sweep_files import DRAWS, distribution

Answer = dict[str, Any]
ENTITY = "tests"
WHEN = "2026-01-01T00:00:00"  # of everything: nothing here asks for more
PERSON = {"id": "person", "name": ENTITY, "username": ENTITY, "entity": ENTITY, "email": "", "flags": "{}"}


@dataclass
class Run:
    """A run as the server has it.

    Attributes:
        history: its rows, in the order of their offsets in the stream.
        files: name → content, of what was uploaded whole.
        state: "pending" (given to an agent), "running", "finished" or "failed".
    """

    project: str
    name: str
    sweep: str | None = None
    settings: Answer = field(default_factory=dict)
    config: Answer = field(default_factory=dict)
    summary: Answer = field(default_factory=dict)
    history: list[Answer] = field(default_factory=list)
    events: list[Answer] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    state: str = "pending"


@dataclass
class Artifact:
    """An artifact: `files` are those that were uploaded; "COMMITTED" once all of them are."""

    project: str
    name: str
    kind: str
    run: str
    digest: str
    number: int
    state: str = "PENDING"
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Sweep:
    """A sweep: the text of its file and the points that no agent has taken yet."""

    project: str
    name: str
    text: str
    points: Iterator[Answer]


@dataclass
class Store:
    """All that a server was sent.

    Attributes:
        url: of the server, under which files are sent and fetched.
        runs: (project, id) → run.
        sweeps: id → sweep.
    """

    url: str = ""
    runs: dict[tuple[str, str], Run] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    sweeps: dict[str, Sweep] = field(default_factory=dict)

    def files(self, path: str) -> tuple[dict[str, bytes], str]:
        """The files among which the one of a storage address is, and its name there."""
        owner, part, name = path.removeprefix("/storage/").split("/", 2)
        files = self.artifacts[int(part)].files if owner == "artifact" else self.runs[owner, part].files
        return files, unquote(name)

    def stream(self, project: str, name: str, body: Answer) -> None:
        """Take what a run writes as it goes: rows at their offsets, its summary, its end."""
        run = self.runs[project, name]
        for file, chunk in (body.get("files") or {}).items():
            rows, offset = chunk.get("content") or [], chunk.get("offset") or 0
            if file == "wandb-history.jsonl":
                run.history[offset : offset + len(rows)] = map(json.loads, rows)
            elif file == "wandb-events.jsonl":
                run.events[offset : offset + len(rows)] = map(json.loads, rows)
            elif file == "wandb-summary.json" and rows:
                run.summary = json.loads(rows[-1])
        if body.get("complete"):
            run.state = "failed" if body.get("exitcode") else "finished"


def _edges(nodes: Iterable[Answer]) -> Answer:
    edges = [{"node": node, "cursor": str(place)} for place, node in enumerate(nodes)]
    page = {"__typename": "PageInfo", "hasNextPage": False, "endCursor": None}
    return {"edges": edges, "pageInfo": page, "totalCount": len(edges)}


def _project(name: str, **parts: Any) -> Answer:
    entity = {"id": ENTITY, "name": ENTITY}
    return {"id": name, "internalId": "1", "name": name, "entity": entity, "readOnly": False, **parts}


def _run(run: Run) -> Answer:
    """A run as every query wants it."""
    rows = [json.dumps(row) for row in run.history]
    client = run.config.get("_wandb", {}).get("value", {})  # a client that resumes a run looks for its "t"
    keys = {key: {"typeCounts": [{"type": "number", "count": 1}]} for row in run.history for key in row}
    shared = ("displayName", "description", "notes", "tags", "commit", "jobType", "groupName")
    return {
        **{name: run.settings.get(name) for name in shared},
        **{"id": run.name, "name": run.name, "sweepName": run.sweep, "state": run.state, "readOnly": False},
        **{"project": _project(run.project), "projectId": "1", "user": PERSON, "group": run.settings.get("groupName")},
        **{"createdAt": WHEN, "heartbeatAt": WHEN, "tags": run.settings.get("tags") or [], "systemMetrics": "{}"},
        **{
            "config": json.dumps(run.config),
            "summaryMetrics": json.dumps(run.summary),
            "wandbConfig": json.dumps(client),
        },
        **{"historyLineCount": len(rows), "eventsLineCount": len(run.events), "logLineCount": 0},
        **{
            "historyTail": json.dumps(rows[-1:]),
            "eventsTail": json.dumps([json.dumps(row) for row in run.events[-1:]]),
        },
        "historyKeys": {"keys": keys, "lastStep": run.history[-1]["_step"] if rows else -1, "sets": []},
        "parquetHistory": {"parquetUrls": [], "liveData": run.history},
    }


def _artifact(artifact: Artifact) -> Answer:
    """An artifact as `run.logged_artifacts` wants it."""
    made = {"createdAt": WHEN, "updatedAt": WHEN, "commitHash": "0" * 20, "ttlDurationSeconds": -2}
    return {
        **{"__typename": "Artifact", "id": str(artifact.number), "versionIndex": artifact.number, **made},
        **{"state": artifact.state, "digest": artifact.digest, "fileCount": len(artifact.files), "size": 0},
        **{"artifactType": {"name": artifact.kind}, "description": None, "metadata": None, "historyStep": None},
        **{"tags": [], "aliases": [], "ttlIsInherited": True},
        "artifactSequence": {
            **{"__typename": "ArtifactSequence", "name": artifact.name, "latestArtifact": None},
            "project": _project(artifact.project),
        },
    }


def _viewer(store: Store, given: Answer) -> Answer:
    return {"viewer": {**PERSON, "teams": _edges([{"name": ENTITY}])}}


def _upsert_run(store: Store, given: Answer) -> Answer:
    known = (run for run in store.runs.values() if run.name == given["id"])
    run = next(known, None) or store.runs.get((given["project"], given["name"]))
    if inserted := run is None or run.state == "pending":
        run = run or Run(given["project"], given["name"])
        store.runs[run.project, run.name] = run
    assert run is not None
    run.settings |= {name: value for name, value in given.items() if value is not None}
    run.state = "running"
    for part, name in (("config", "config"), ("summary", "summaryMetrics")):
        if given.get(name) is not None:
            setattr(run, part, json.loads(given[name]))
    return {"upsertBucket": {"bucket": _run(run), "inserted": inserted}}


def _resume_status(store: Store, given: Answer) -> Answer:
    run = store.runs.get((given["project"], given["name"]))
    bucket = None if run is None or run.state == "pending" else _run(run)
    return {"model": _project(given["project"], bucket=bucket)}


def _one_run(store: Store, given: Answer) -> Answer:
    name = given.get("name") or given.get("runName") or given["run"]
    return {"project": _project(given["project"], run=_run(store.runs[given["project"], name]))}


def _history(store: Store, given: Answer) -> Answer:
    rows = store.runs[given["project"], given["run"]].history
    page = [json.dumps(row) for row in rows if given["minStep"] <= row["_step"] < given["maxStep"]]
    return {"project": _project(given["project"], run={"history": page})}


def _runs(store: Store, given: Answer) -> Answer:
    filters = json.loads(given["filters"] or "{}")
    runs = [run for run in store.runs.values() if run.project == given["project"] and _passes(run, filters)]
    if given["order"] == "-created_at":
        runs.reverse()
    return {"project": _project(given["project"], runs=_edges(map(_run, runs)), runCount=len(runs))}


def _passes(run: Run, filters: Answer) -> bool:
    """Whether a run has the values of W&B's filters; no operator but $and is known."""
    also = [_passes(run, each) for each in filters.get("$and", [])]
    about = {"sweep": run.sweep, "state": run.state, "group": run.settings.get("groupName")}
    about |= {"jobType": run.settings.get("jobType")}
    about |= {f"config.{name}": item["value"] for name, item in run.config.items()}
    return all(also) and all(about.get(name) == value for name, value in filters.items() if name != "$and")


def _run_files(store: Store, given: Answer) -> Answer:
    run = store.runs[given["project"], given["name"]]
    about = {"mimetype": "", "updatedAt": WHEN, "md5": None}
    nodes = []
    for name, content in run.files.items():
        url = f"{store.url}/storage/{run.project}/{run.name}/{quote(name)}"
        nodes.append({"id": name, "name": name, "url": url, "directUrl": url, "sizeBytes": len(content), **about})
    return {"project": _project(run.project, run={"fileCount": len(nodes), "files": _edges(nodes)})}


def _create_run_files(store: Store, given: Answer) -> Answer:
    base = f"{store.url}/storage/{given['project']}/{given['run']}"
    files = [{"name": name, "uploadUrl": f"{base}/{quote(name)}"} for name in given["files"]]
    return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}


def _points(content: Answer) -> Iterator[Answer]:
    """A grid's points, or drawn ones without an end; a Bayes sweep's are drawn too."""
    specs = content["parameters"]
    axes = {name: spec.get("values", [spec.get("value")]) for name, spec in specs.items()}
    if content["method"] == "grid":
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True))
        return
    draw = random.Random(0)
    while True:
        yield {
            name: DRAWS[distribution(name, spec)](draw, spec) if "min" in spec else draw.choice(axes[name])
            for name, spec in specs.items()
        }


def _upsert_sweep(store: Store, given: Answer) -> Answer:
    points = _points(yaml.safe_load(given["config"]))
    sweep = Sweep(given["projectName"], f"sweep{len(store.sweeps)}", given["config"], points)
    store.sweeps[sweep.name] = sweep
    node = {"name": sweep.name, "project": _project(sweep.project)}
    return {"upsertSweep": {"sweep": node, "configValidationWarnings": []}}


def _sweep(store: Store, given: Answer) -> Answer:
    sweep = store.sweeps[given.get("sweep") or given["name"]]
    runs = [run for run in store.runs.values() if run.sweep == sweep.name]
    node = {
        **{"__typename": "Sweep", "id": sweep.name, "name": sweep.name, "displayName": sweep.name, "state": "RUNNING"},
        **{"method": "grid", "config": sweep.text, "description": None, "bestLoss": None, "earlyStopJobRunning": False},
        **{"createdAt": WHEN, "updatedAt": WHEN, "heartbeatAt": WHEN, "controller": None, "scheduler": None},
        **{"runs": _edges([]), "runCount": len(runs), "runCountExpected": len(runs)},
    }
    return {"project": _project(sweep.project, sweep=node)}


def _heartbeat(store: Store, given: Answer) -> Answer:
    """The next point to an agent that runs nothing, its end if there is none; an agent's id is that of its sweep."""
    sweep, commands = store.sweeps[given["id"]], []
    if not any(json.loads(given["runState"] or "{}").values()):
        commands.append({"type": "exit"})
        if (point := next(sweep.points, None)) is not None:
            run = Run(sweep.project, f"{sweep.name}run{len(store.runs)}", sweep.name)
            store.runs[run.project, run.name] = run
            arguments = {name: {"value": value} for name, value in point.items()}
            program = yaml.safe_load(sweep.text).get("program")
            commands = [{"type": "run", "run_id": run.name, "program": program, "args": arguments}]
    return {"agentHeartbeat": {"agent": {"id": sweep.name}, "commands": json.dumps(commands)}}


def _artifact_type(store: Store, given: Answer) -> Answer:
    kinds = [
        {"artifactType": {"name": each.kind}} for each in store.artifacts if each.name == given["name"].split(":")[0]
    ]
    return {"project": _project(given["project"], artifact=kinds[0] if kinds else None)}


def _create_artifact(store: Store, given: Answer) -> Answer:
    place = (given["projectName"], given["artifactCollectionName"], given["artifactTypeName"], given["runName"])
    artifact = Artifact(*place, digest=given["digest"], number=len(store.artifacts))
    store.artifacts.append(artifact)
    return {"createArtifact": {"artifact": _artifact(artifact)}}


def _upload(store: Store, number: str, name: str) -> Answer:
    path = f"/storage/artifact/{number}/{quote(name)}"
    return {"id": name, "uploadUrl": f"{store.url}{path}", "uploadHeaders": [], "storagePath": path[1:]}


def _create_manifest(store: Store, given: Answer) -> Answer:
    manifest = {"id": given["artifactID"], "file": _upload(store, given["artifactID"], given["name"])}
    return {"createArtifactManifest": {"artifactManifest": manifest}}


def _create_artifact_files(store: Store, given: Answer) -> Answer:
    uploads = [(each["artifactID"], each["name"]) for each in given["artifactFiles"]]
    more: Answer = {"uploadMultipartUrls": None}
    nodes = [{**_upload(store, number, name), **more, "artifact": {"id": number}} for number, name in uploads]
    return {"createArtifactFiles": {"files": _edges(nodes)}}


def _commit_artifact(store: Store, given: Answer) -> Answer:
    artifact = store.artifacts[int(given["artifactID"])]
    artifact.state = "COMMITTED"
    return {"commitArtifact": {"artifact": _artifact(artifact)}}


def _run_artifacts(store: Store, given: Answer) -> Answer:
    place = (given["project"], given["run"])
    nodes = [_artifact(artifact) for artifact in store.artifacts if (artifact.project, artifact.run) == place]
    return {"project": _project(given["project"], run={"artifacts": _edges(nodes)})}


OPERATIONS: dict[str, Callable[[Store, Answer], Answer]] = {
    "Viewer": _viewer,
    "GetDefaultEntity": _viewer,
    "ServerFeaturesQuery": lambda store, given: {"serverInfo": {"features": []}},
    "OrganizationCoreWeaveOrganizationID": lambda store, given: {
        "entity": {"organization": {"coreWeaveOrganizationId": None}}
    },
    "UpsertSweep": _upsert_sweep,
    "SweepWithRuns": _sweep,
    "GetSweep": _sweep,
    "CreateAgent": lambda store, given: {"createAgent": {"agent": {"id": given["sweep"]}}},
    "Heartbeat": _heartbeat,
    "RunResumeStatus": _resume_status,
    "UpsertBucket": _upsert_run,
    "CreateRunFiles": _create_run_files,
    "Run": _one_run,
    "Runs": _runs,
    "RunHistoryKeys": _one_run,
    "RunParquetHistory": _one_run,
    "HistoryPage": _history,
    "RunFiles": _run_files,
    "RunOutputArtifacts": _run_artifacts,
    "ArtifactType": _artifact_type,
    "CreateArtifact": _create_artifact,
    "CreateArtifactManifest": _create_manifest,
    "CreateArtifactFiles": _create_artifact_files,
    "CommitArtifact": _commit_artifact,
}
