import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.records import cell_record as records
from experiments.records.cell_record import PUBLISHED_WEIGHTS, CellRecord, read_cells, trained_on, write_table
from experiments.records.fingerprints import part_of_data
from experiments.records.identity import config_hash
from experiments.records.tables import read_table


def test_a_record_comes_back_as_it_was_saved(make_cell):
    record = make_cell({"model.brm": True}, 1)
    assert CellRecord.load(record.folder) == record


def test_figures_that_json_has_no_word_for_become_null(tmp_path):
    CellRecord(folder=tmp_path, metrics={"mad": float("nan")}).save()
    assert json.loads((tmp_path / "record.json").read_text())["metrics"] == {"mad": None}


def test_complete_needs_config_and_metrics(tmp_path):
    with pytest.raises(ValueError, match=r"config\.yaml and metrics\.parquet"):
        CellRecord(folder=tmp_path, status="complete").save()
    with pytest.raises(ValueError, match="done"):
        CellRecord(folder=tmp_path, status="done").save()


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"status": "unheard of"}', '{"status": "complete", "colour": 1}'])
def test_a_torn_record_is_read_as_failed(make_cell, torn):
    record = make_cell({"model.brm": True}, 0)
    (record.folder / "record.json").write_text(torn)
    (found,) = read_cells(record.folder.parent)
    assert (found.status, found.cell) == ("failed", record.folder.name)
    assert "run the cell again" in found.error
    assert "\n" not in found.error


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"metrics": [1]}, "metrics is of type list"),
        ({"metrics": {"mad": "low"}}, "metrics.mad is of type str"),
        ({"seed": "0"}, "seed is of type str"),
        ({"seed": True}, "seed is of type bool"),
        ({"arm": None}, "arm is of type NoneType"),
        ({"steps": {"matting": 3}}, "steps.matting is of type int"),
        ({"durations": {"train_seconds": None}}, "durations.train_seconds is of type NoneType"),
        ({"cost": {"parameters": "many"}}, "cost.parameters is of type str"),
        ({"finished": 3}, "finished is of type int"),
        ({"peak_memory_gib": "1"}, "peak_memory_gib is of type str"),
        ({"metrics": {"mad": float("nan")}}, "NaN is no JSON"),
        ({"data": {"parts": 3}}, "data.fingerprint is of type NoneType"),
        ({"data": {"fingerprint": "a", "files": "x", "bytes": 1, "parts": {}}}, "data.files is of type str"),
        ({"data": {"fingerprint": "a", "files": 1, "bytes": 1, "parts": {"set": 1}}}, "data.parts.set.digest is of"),
        ({"seed": 2**64}, "has more than 64 bits"),
        ({"cell": "\ud800"}, "surrogates not allowed"),
    ],
)
def test_a_record_of_wrong_types_is_read_as_failed(make_cell, change, told):
    record = make_cell({"model.brm": True}, 0)
    path = record.folder / "record.json"
    content = json.loads(path.read_text()) | change
    del content["checksum"]  # as if it had been written so
    path.write_text(json.dumps(content))
    (found,) = read_cells(record.folder.parent)
    assert (found.status, found.cell) == ("failed", record.folder.name)
    assert f"{path} " in found.error or f"{path}:" in found.error
    assert told in found.error
    assert "\n" not in found.error


def test_edited_figures_are_found(make_cell):
    record = make_cell({"model.brm": True}, 0, metrics={"mad": 12.5})
    path = record.folder / "record.json"
    path.write_text(path.read_text().replace("12.5", "11.5"))
    (found,) = read_cells(record.folder.parent)
    assert found.status == "failed"
    assert found.error == f"{path} is damaged or was edited: its checksum is another; run the cell again"


def test_a_record_may_be_laid_out_anew(make_cell):
    record = make_cell({"model.brm": True}, 1)
    path = record.folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert CellRecord.load(record.folder) == record


@pytest.mark.parametrize("name", ["metrics.parquet", "baselines.parquet", "config.yaml", "history_matting.csv"])
@pytest.mark.parametrize("damage", ["flipped", "torn", "missing"])
def test_a_damaged_file_is_named(make_cell, name, damage):
    record = make_cell({"model.brm": True}, 0)
    path = record.folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if damage == "flipped" else data[:-5])
    if damage == "missing":
        path.unlink()
    (found,) = read_cells(record.folder.parent)
    assert found.status == "failed"
    assert str(path) in found.error
    assert "\n" not in found.error


OLD = {
    "config.yaml": {
        "no UTF-8": "größe: 3\n".encode("latin-1"),
        "a list": b"- 1\n",
        "no YAML": b"a: [\n",
        "empty": b"",
        "stages of another kind": b"recipe: {stages: 3}\n",
    },
    "history_matting.csv": {
        "text": b"step,loss\n1,0.5\n2,low\n",
        "no steps": b"loss\n1\n",
        "half steps": b"step,loss\n0.5,1\n",
        "empty": b"",
        "no UTF-8": b"step,l\xf6ss\n1,2\n",
        "endless": b"step,loss\ninf,1\n",
    },
    "metrics.parquet": {"text": b"no table", "empty": b""},
    "baselines.parquet": {"text": b"no table", "empty": b""},
    "memory.parquet": {"text": b"no table", "empty": b""},
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in OLD.items() for kind in kinds])
def test_a_bad_file_of_a_record_without_checksums_is_named(make_cell, name, kind):
    record = make_cell({"model.brm": True}, 0)
    path = record.folder / "record.json"
    content = json.loads(path.read_text())
    del content["checksum"], content["checksums"]
    path.write_text(json.dumps(content))
    assert [cell.status for cell in read_cells(record.folder.parent)] == ["complete"]
    (record.folder / name).write_bytes(OLD[name][kind])
    (found,) = read_cells(record.folder.parent)
    if kind == "stages of another kind":
        assert found.status == "complete"
    else:
        assert found.status == "failed"
        assert str(record.folder / name) in found.error
        assert "\n" not in found.error


def test_a_flipped_byte_in_a_table_is_noticed_without_a_record(tmp_path):
    path = tmp_path / "table.parquet"
    row = {"clip": "a", "scene": "b", "stratum": "c", "frame": range(50), "mse": 0.1, "dtssd": 0.0}
    write_table(path, pd.DataFrame(row | {"mad": np.random.default_rng(0).random(50)}))
    written, mad = path.read_bytes(), np.random.default_rng(0).random(50)
    assert len(read_table(path)) == 50
    place = written.index(mad[25].tobytes()) + 6
    path.write_bytes(written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :])
    with pytest.raises(ValueError, match=r"table\.parquet cannot be read"):
        read_table(path)


@pytest.mark.parametrize("column", ["mad", "frame", "coverage"])
@pytest.mark.parametrize("value", ["text", [1.0], 0.5])
def test_a_table_with_other_things_than_numbers_is_named(make_cell, column, value):
    record = make_cell({"model.brm": True}, 0)
    path = record.folder / "metrics.parquet"
    table = pd.read_parquet(path)
    records.write_table(path, table.assign(**{column: [value] * len(table)}))
    record.save()
    (found,) = read_cells(record.folder.parent)
    if value == 0.5 and column != "frame":
        assert found.status == "complete"
    else:
        assert found.error == f"{path} has other things than numbers in {column}; run the cell again"


@pytest.mark.parametrize("damage", ["missing", "torn", "empty", "column"])
def test_a_complete_cell_with_damaged_metrics_is_read_as_failed(make_cell, damage):
    record = make_cell({"model.brm": True}, 0)
    path = record.folder / "metrics.parquet"
    table = pd.read_parquet(path)
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:200])
    else:
        records.write_table(path, table[:0] if damage == "empty" else table.drop(columns="mad"))
    (found,) = read_cells(record.folder.parent)
    assert found.status == "failed"
    assert "metrics.parquet" in found.error


def test_only_cells_of_this_config_are_read(make_cell):
    root = make_cell({"model.brm": True}, 0).folder.parent
    make_cell({"model.brm": False}, 0).folder.rename(root / "model.brm=false,seed=0~0123456789ab")
    (root / "wandb").mkdir()
    (root / "begun").mkdir()
    (root / "begun" / "config.yaml").write_text("seed: 0\n")
    assert [(cell.folder.name, cell.status) for cell in read_cells(root)] == [
        ("begun", "failed"),
        ("model.brm=true,seed=0", "complete"),
    ]
    assert read_cells(root / "nowhere") == []


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.none())))
def test_hash_knows_values_but_not_their_order(config):
    assert config_hash(dict(reversed(config.items()))) == config_hash(config)
    assert config_hash(config | {"one more": 1}) != config_hash(config | {"one more": 2})
    assert len(config_hash(config)) == 12


def test_tables_keep_full_precision(tmp_path):
    table = pd.DataFrame({"mad": np.random.default_rng(0).random(5)})
    records.write_table(tmp_path / "table.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


def test_the_history_goes_through_all_stages_in_the_order_of_training(tmp_path: Path) -> None:
    record = records.CellRecord(tmp_path)
    assert record.read_history() is None
    records.write_config(tmp_path / "config.yaml", {"recipe": {"stages": {"second": {}, "first": {}}}})
    (tmp_path / "history_first.csv").write_text("step,loss\n1,0.5\n2,0.4\n")
    (tmp_path / "history_second.csv").write_text("step,loss,matte\n1,0.9,0.1\n3,0.8,0.1\n")
    history = record.read_history()
    assert history is not None
    assert history["stage"].tolist() == ["second", "second", "first", "first"]
    assert history["step"].tolist() == [1, 3, 4, 5]
    assert history["loss"].tolist() == [0.9, 0.8, 0.5, 0.4]


def test_weights_were_trained_on_what_the_record_beside_them_tells(tmp_path):
    part = {"digest": "ab", "files": 1, "bytes": 2}
    data = {"fingerprint": "cd", "files": 1, "bytes": 2, "parts": {"people of train": part, "people of test": part}}
    record = CellRecord(tmp_path / "run", data=data)
    record.save()
    for folder in ("run", "elsewhere"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "model.pt").touch()
    assert trained_on(tmp_path / "run" / "model.pt") == part_of_data(data, "training") != ""
    assert trained_on(tmp_path / "elsewhere" / "model.pt") == ""
    assert trained_on("rvm_mobilenetv3") == PUBLISHED_WEIGHTS


def test_a_trunk_that_another_process_has_trained_is_none_of_a_cells_seconds(tmp_path: Path) -> None:
    durations = {"train_seconds": 160.0, "found_seconds": 100.0, "test_seconds": 40.0}
    assert CellRecord(tmp_path, durations=durations).seconds == 100.0
    assert CellRecord(tmp_path, durations={"test_seconds": 40.0}).seconds == 40.0
