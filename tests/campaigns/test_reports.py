from tests.campaigns.reports import make_records, time_report, time_status


def test_made_up_records_are_read_and_timed(tmp_path):
    make_records(tmp_path, cells=10, clips=12)
    seconds, page = time_report(tmp_path, tmp_path / "results")
    assert seconds > 0
    text = page.with_suffix(".md").read_text()
    assert "Cells that are not in the figures" not in text
    assert "5 seeds" in text
    assert time_status(tmp_path, cells=20) > 0
