from experiments.reporting.formatting import Table


def test_a_table_for_a_terminal_has_words_on_the_left_and_figures_on_the_right() -> None:
    table = Table("Scores", ["", "MAD", "dtSSD"], [["with BRM", "7.10 ± 0.20", "12.5"], ["none", "70.10 ± 0.20", "—"]])
    assert table.to_text().splitlines() == [
        "                   MAD  dtSSD",
        "with BRM   7.10 ± 0.20   12.5",
        "none      70.10 ± 0.20      —",
    ]
