"""A sweep file that cannot be run says in one line which file, which key and what is expected there."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.cells.sweep_files import read_sweep
from experiments.command.messages import one_line

ROOT = Path(__file__).parents[3]
GRID = {
    "name": "brm_ablation",
    "method": "grid",
    "parameters": {"seed": {"values": [0, 1]}},
    "command": ["python", "-m", "experiments.run", "+exp=brm_ablation", "${args_no_hyphens}"],
}
LOG, STEPS, WHOLE = ({"distribution": name} for name in ("log_uniform_values", "q_uniform", "int_uniform"))


def refusal(path: Path) -> str:
    """The line in which a file is refused."""
    with pytest.raises(ValueError, match=r"\w") as told:
        read_sweep(path)
    line = one_line(told.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"parameters": ["seed"]}, "parameters must be a mapping"),
        ({"parameters": None}, "parameters must be a mapping"),
        ({"parameters": {}}, "parameters must be a mapping"),
        ({"parameters": {1: {"value": 2}}}, "parameters must be a mapping"),
        ({"command": None}, "command must be a list of words, got null"),
        ({"command": "python -m experiments.run"}, "command must be a list of words"),
        ({"command": ["python", None]}, "command must be a list of words"),
        ({"command": []}, "command must be a list of words"),
        ({"metric": None}, "metric must be a mapping"),
        ({"metric": "val/mad"}, "metric must be a mapping"),
        ({"metric": {"name": "val/mad", "goal": "min"}}, "goal must be minimize or maximize"),
        ({"method": "bayes", "metric": {"goal": "minimize"}}, "needs metric"),
        ({"method": "bayes", "metric": {"name": 3}}, "metric: name must be a text"),
        ({"method": "simplex"}, "method must be one of grid, random, bayes"),
        ({"method": ["grid"]}, "method must be one of grid, random, bayes"),
        ({"run_cap": "ten"}, "run_cap must be 1 or more points, got 'ten'"),
        ({"run_cap": 0}, "run_cap must be 1 or more"),
        ({"run_cap": True}, "run_cap must be 1 or more"),
        ({"name": "../../../x"}, "name: '../../../x' names files"),
        ({"name": None}, "name must be a text, got null"),
        ({"program": 5}, "program must be a text"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_expected(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(GRID | changes))
    assert expected in refusal(path)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"values": 3}, "values must be a list"),
        ({"values": []}, "values must be a list with a value or more"),
        ({"values": None}, "values must be a list with a value or more, got null"),
        ({"values": [1, 2], "probabilities": [1]}, "probabilities must be a list, a number for each value"),
        ({"values": [1, 2], "probabilities": "even"}, "probabilities must be a list"),
        ({"values": [1, 2], "probabilities": [0, 0]}, "probabilities must be a list"),
        ({"min": "low", "max": 1.0}, "min must be a number, got 'low'"),
        ({"min": 0.0, "max": None}, "max must be a number, got null"),
        ({"min": 0.0, "max": float("inf")}, "max must be a number"),
        ({"min": 3, "max": 1}, "min must be at most max, got 3 and 1"),
        ({"min": 0.0, "max": 1.0, "q": 0, **STEPS}, "q, the step, must be above 0"),
        ({"min": 0.0, "max": 1.0, "q": "half", **STEPS}, "q must be a number"),
        ({"min": 0, "max": 1.0, **LOG}, "min of log_uniform_values must be above 0"),
        ({"min": 0.5, "max": 2, **WHOLE}, "must be whole"),
        ({"min": 0, "max": 1, "distribution": "beta"}, "distribution beta is not known"),
        (None, "needs value, values, or min and max"),
        ([1, 2], "needs value, values, or min and max"),
        ({"min": 1}, "needs value, values, or min and max"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_expected(spec: Any, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(GRID | {"method": "random", "run_cap": 2, "parameters": {"model.prm_xi": spec}}))
    line = refusal(path)
    assert "model.prm_xi" in line
    assert expected in line


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"just text", b"- a\n- b", b"a: [", b"\xff\xfe\x00", "name: é".encode("latin-1"), b"\x00", b"[" * 1000),
        *(b"a: !!timestamp soon", b"a: !!bool x", b"a: 2001-99-99", b"? [a]\n: b", b"a: !!python/object:os.system {}"),
    ],
)
def test_what_is_no_sweep_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    assert "sweep file" in refusal(path)


def test_a_folder_is_no_sweep_file(tmp_path: Path) -> None:
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize(("low", "high"), [("1e-4", "1e-2"), (1e-4, "0.01")])
def test_a_bound_that_yaml_reads_as_text_is_a_number(low: Any, high: Any, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    spec = {"min": low, "max": high, **LOG}
    path.write_text(yaml.safe_dump(GRID | {"method": "random", "run_cap": 5, "parameters": {"rate": spec}}))
    assert all(1e-4 <= point["rate"] <= 1e-2 for point in read_sweep(path).points(seed=0))


PLAIN = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text("ab${}./", max_size=5)
NESTED = st.recursive(PLAIN, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text("abc", max_size=3), x))
SPECS = st.dictionaries(
    st.sampled_from(["value", "values", "min", "max", "q", "distribution", "probabilities"]),
    NESTED | st.sampled_from(["uniform", "q_uniform", "int_uniform", "log_uniform_values"]),
)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(st.sampled_from(["name", "program", "method", "metric", "command", "run_cap"]), NESTED),
    parameters=NESTED | st.dictionaries(st.text("ab.", min_size=1, max_size=3), SPECS, max_size=3),
    method=st.sampled_from(["grid", "random", "bayes"]),
)
def test_any_content_gives_commands_or_one_line(
    changes: dict[str, Any], parameters: Any, method: str, tmp_path: Path
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(GRID | {"method": method, "run_cap": 3} | {"parameters": parameters} | changes))
    try:
        file = read_sweep(path)
        for point in file.points(seed=0):
            file.command_line(point)
    except ValueError as error:
        told = one_line(error)
    else:
        return
    assert str(path) in told


def test_the_command_ends_with_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(GRID | {"parameters": {"seed": {"values": 3}}}))
    command = [sys.executable, "-m", "experiments.sweep", str(path), "--dry-run"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 2
    assert result.stderr == f"error: {path}: seed: values must be a list with a value or more, got 3\n"
