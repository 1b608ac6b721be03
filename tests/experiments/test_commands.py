"""What `python -m` does with each command that takes seconds to import; light ones have processes of their own."""

from pathlib import Path

import pytest

from tests.experiments.in_process import run_module


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("benchmark", ["--nets", "modnett", "--threads", "1"], "no net is called 'modnett'"),
        ("check_data", ["data=video_mattes", "data.root=."], "data.scenes must be given: add data.scenes=…"),
        ("evaluate", ["checkpoint=nowhere.pt"], "there is no checkpoint nowhere.pt\n"),
        ("export", ["checkpoint=nowhere.pt", "output=net.onnx"], "nowhere.pt"),
        ("make_testset", ["output=set", "testset.size=32"], "testset.size must be [height, width] in pixels from 32"),
        ("matte", ["input=nowhere.mp4", "output=out", "model=modnet"], "nowhere.mp4"),
        ("report", ["records=nowhere"], "nowhere"),
    ],
)
def test_a_command_ends_bad_input_with_one_line(
    name: str,
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run_module(name, words, monkeypatch, capsys)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
