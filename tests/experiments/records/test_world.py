"""In what world a record was made."""

import json
import re
import subprocess

from experiments.records import world


def test_a_commit_is_dirty_with_other_code_and_not_with_other_results(monkeypatch, tmp_path):
    for path in ("code/deep/net.py", "code/config.yaml", "results/report.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("as committed")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(world, "__file__", str(tmp_path / "code" / "world.py"))
    (tmp_path / "results" / "report.md").write_text("new")
    assert re.fullmatch("[0-9a-f]{12}", world.git_commit())
    for path in ("code/deep/net.py", "code/config.yaml"):
        (tmp_path / path).write_text("changed")
        assert world.git_commit().endswith(" (dirty)")
        (tmp_path / path).write_text("as committed")


def test_commit_is_unknown_without_git(monkeypatch):
    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert world.git_commit() == "unknown"


def test_what_is_recorded_of_the_machine_is_plain():
    described = {"versions": world.describe_versions(), "hardware": world.describe_hardware()}
    assert json.loads(json.dumps(described)) == described
    assert described["hardware"].keys() == {"processor", "cores", "threads", "gpu"}
    assert "unknown" not in described["versions"].values()
