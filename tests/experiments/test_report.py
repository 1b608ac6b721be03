"""The command: reports of an experiment and of folders of evaluations."""

import shutil

import pytest

from experiments import report
from tests.experiments.cells_on_disk import WITH, WITHOUT, of_data, small
from tests.experiments.in_process import run_here


@pytest.mark.usefixtures("only_tables")
def test_a_folder_of_evaluations_gives_a_report_for_each_test_set(make_cell, tmp_path, monkeypatch, capsys):
    for place, model in enumerate(("modnet", "rvm", "rvm")):
        arm = {"model": model, "checkpoint": "none" if place else "modnet.pth", "options": "default"}
        study = "VM" if place < 2 else "D646"
        cell = small(make_cell, arm, 0, study=study, experiment="evaluate", scale="", cell=f"{model}-{study}")
        cell.folder.rename(cell.folder.with_name(f"{model}-{study}"))
    folder, output = tmp_path / "outputs", tmp_path / "reports"
    monkeypatch.setattr("sys.argv", ["report", f"records={folder}", "baseline=modnet-VM", f"output={output}"])
    assert report.main() == 0
    assert capsys.readouterr().out.count("report    ") == 2
    text = (output / "VM" / "report.md").read_text()
    assert "| modnet, modnet.pth (baseline) |" in text
    assert "rvm, no checkpoint against modnet, modnet.pth, 1 seed" in text
    assert "modnet" not in (output / "D646" / "report.md").read_text().split("## Scores")[1].split("##")[0]
    for wrong, words in (("baseline=fba", "no record is called so"), ("base=x", "base is not understood")):
        monkeypatch.setattr("sys.argv", ["report", f"records={folder}", wrong])
        with pytest.raises(ValueError, match=words):
            report.main()
    monkeypatch.setattr("sys.argv", ["report", f"records={tmp_path / 'nowhere'}"])
    with pytest.raises(ValueError, match="no records"):
        report.main()


@pytest.mark.usefixtures("only_tables")
def test_damaged_records_are_named_in_a_line_and_left_out(make_cell, monkeypatch, capsys, tmp_path):
    cells = [small(make_cell, {"model.brm": brm}, seed) for brm in (True, False) for seed in range(3)]
    root = cells[0].folder.parent
    with (cells[0].folder / "metrics.parquet").open("r+b") as file:
        file.write(b"PAR2")
    for cell, name, data in (
        (cells[1], "config.yaml", b"gr\xf6\xdfe: 3\n"),
        (cells[4], "history_matting.csv", b"step\na\n"),
    ):
        (cell.folder / name).write_bytes(data)
    path = cells[5].folder / "record.json"
    path.write_text(path.read_text().replace("400.0", "4.0"))
    monkeypatch.setattr("sys.argv", ["report", f"records={root}", f"output={tmp_path}/results"])
    assert report.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2].replace(f"{root}/", "") for line in lines if line.startswith("left out")] == [
        "model.brm=false,seed=1/history_matting.csv is damaged or was changed: record.json has another checksum; "
        "run the cell again",
        "model.brm=false,seed=2/record.json is damaged or was edited: its checksum is another; run the cell again",
        "model.brm=true,seed=0/metrics.parquet is damaged or was changed: record.json has another checksum; "
        "run the cell again",
        "model.brm=true,seed=1/config.yaml is damaged or was changed: record.json has another checksum; "
        "run the cell again",
    ]
    assert sum(line.startswith("report ") for line in lines) == 2
    pages = [page.read_text() for page in (tmp_path / "results").rglob("report.md")]
    assert sum("Cells that are not in the figures" in page for page in pages) == 2


def evaluated(make_cell, folder, name, arm, **fields):
    """A record as `experiments.evaluate` leaves it."""
    arm = {"model": "", "checkpoint": "none", "options": "default"} | arm
    cell = small(make_cell, arm, 0, **{"experiment": "evaluate", "scale": "", "study": "test", "cell": name, **fields})
    return cell.folder.rename(cell.folder.with_name(name))


@pytest.mark.usefixtures("only_tables")
def test_without_a_named_baseline_the_first_record_is_it(make_cell, tmp_path, monkeypatch, capsys):
    for name, arm in (("b", {"model": "rvm"}), ("a", {"model": "modnet", "checkpoint": "single"})):
        evaluated(make_cell, tmp_path, name, arm, **of_data("11"))
    words = ["report", f"records={tmp_path / 'outputs'}", f"output={tmp_path / 'reports'}"]
    monkeypatch.setattr("sys.argv", words)
    assert report.main() == 0
    text = (tmp_path / "reports/test/report.md").read_text()
    assert "| modnet, single (baseline) |" in text
    assert "rvm, no checkpoint against modnet, single, 1 seed" in text
    assert text.count("(baseline)") == text.count("modnet, single (baseline)")
    assert "| Data | fingerprint 11: 2 files, 0.0 MB |" in text
    monkeypatch.setattr("sys.argv", [*words, "baseline=b"])
    assert report.main() == 0
    assert "| rvm, no checkpoint (baseline) |" in (tmp_path / "reports/test/report.md").read_text()
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["report", "--help"])
    assert report.main() == 0
    assert "baseline=NAME" in capsys.readouterr().out


@pytest.mark.usefixtures("only_tables")
def test_records_of_two_sets_of_one_name_have_a_report_each(make_cell, tmp_path, monkeypatch, capsys):
    for place, digest in enumerate(("11", "22", None)):
        for model in ("modnet", "rvm"):
            data = of_data(digest) if digest else {}
            evaluated(make_cell, tmp_path, f"{model}{place}", {"model": model}, **data)
    monkeypatch.setattr("sys.argv", ["report", f"records={tmp_path / 'outputs'}", f"output={tmp_path / 'reports'}"])
    assert report.main() == 0
    assert capsys.readouterr().out.count("there are records of other data under this name") == 3
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        "test,data=11", "test,data=22", "test,data=unknown",
    }  # fmt: skip
    text = (tmp_path / "reports/test,data=22/report.md").read_text()
    assert "rvm1" in text
    assert "rvm0" not in text


@pytest.mark.slow
def test_reports_of_two_comparisons_do_not_mix(make_cell, tmp_path, monkeypatch, capsys):
    for seed, key in enumerate(("", "model.hidden=4")):
        for arm in (WITH, WITHOUT):
            cell = small(make_cell, arm, seed, scale="smoke", study=key)
            shutil.move(cell.folder, tmp_path / "runs" / "brm_ablation" / f"{key}{cell.folder.name}")
    places = [f"output_dir={tmp_path}/runs", f"results_dir={tmp_path}/reports"]
    for more in ([], ["model.hidden=4"]):
        result = run_here(report.main, ["+exp=brm_ablation", "scale=smoke", *more, *places], monkeypatch, capsys)
        assert result.returncode == 0, result.stderr
    reports = {path.parent.name: path.read_text() for path in tmp_path.glob("reports/brm_ablation/*/report.md")}
    assert reports.keys() == {"smoke", "smoke,model.hidden=4"}
    told = {name: [seed for seed in (0, 1) if f"seed={seed}" in text] for name, text in reports.items()}
    assert told == {"smoke": [0], "smoke,model.hidden=4": [1]}


@pytest.mark.slow
@pytest.mark.usefixtures("only_tables")
@pytest.mark.parametrize(("values", "shown"), [("true,false", False), ("true,false,mistyped", True)])
def test_a_cell_that_failed_by_a_mistyped_value_is_told_of_only_where_it_is_asked_for(
    make_cell, tmp_path, monkeypatch, capsys, values, shown
):
    for arm in (WITH, WITHOUT):
        small(make_cell, arm, 0)
    small(make_cell, {"model.brm": "mistyped"}, 0, status="failed", error="ValueError: no such brm")
    (tmp_path / "outputs").rename(tmp_path / "brm_ablation")
    words = ["+exp=brm_ablation", f"model.brm={values}", f"output_dir={tmp_path}", f"results_dir={tmp_path / 'r'}"]
    ended = run_here(report.main, words, monkeypatch, capsys)
    assert ended.returncode == 0, ended.stderr
    assert ("no such brm" in ended.stdout) is shown
    assert ("no such brm" in (tmp_path / "r/brm_ablation/tiny/report.md").read_text()) is shown
    assert "reference none is committed" in ended.stdout
