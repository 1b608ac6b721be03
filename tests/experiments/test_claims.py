"""`python -m experiments.claims`."""

from pathlib import Path

import pandas as pd
import pytest

from experiments import claims
from experiments.reporting import ledger
from tests.experiments.in_process import run_here


@pytest.fixture
def two_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ledger.Claim("a", "rvm", "Table 1", "<b>Bold</b> & | brave", "1 → 2", untestable="no data", command="python")
    counted = ledger.Claim(
        "b", "rvm", "Table 3", "RVM has so many.", "3.749 M",
        count=ledger.Count("parameters", "rvm", value=3_749_000, within=500),
    )  # fmt: skip
    monkeypatch.setattr(ledger, "published", lambda: (told, counted))


@pytest.mark.usefixtures("two_claims")
def test_the_ledger_is_a_page_a_text_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_here(claims.main, [f"results_dir={tmp_path}"], monkeypatch, capsys)
    assert (result.returncode, result.stderr) == (0, "")
    assert "2 published claims: 1 supported, 1 not testable here." in result.stdout
    assert f"ledger    {tmp_path}/claims.html" in result.stdout
    assert "supported            RVM has so many. (RVM, Table 3)" in result.stdout
    page = (tmp_path / "claims.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;Bold&lt;/b&gt; &amp; | brave" in page
    assert "<b>" not in page
    assert "3 748 633 parameters" in page
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert r"&lt;b&gt;Bold&lt;/b&gt; &amp; \| brave" in text
    table = pd.read_csv(tmp_path / "claims.csv")
    assert table["finding"].tolist() == ["not testable here", "supported"]
    assert table["tested_by"].tolist()[1] == "parameters of rvm, 3 749 000 ± 500"
    assert table["needs"].tolist()[1] == "none: it is counted"


@pytest.mark.parametrize(
    ("word", "told"),
    [("resluts_dir=x", "resluts_dir=x is not understood"), ("results_dir=nowhere", "results_dir=nowhere: there is no")],
)
def test_what_is_not_understood_is_told(
    word: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_here(claims.main, [word], monkeypatch, capsys)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {told}")
