from experiments.reporting.formatting import Table, filled, two_ends


def test_a_table_for_a_terminal_has_words_on_the_left_and_figures_on_the_right() -> None:
    table = Table("Scores", ["", "MAD", "dtSSD"], [["with BRM", "7.10 ± 0.20", "12.5"], ["none", "70.10 ± 0.20", "—"]])
    assert table.to_text().splitlines() == [
        "                   MAD  dtSSD",
        "with BRM   7.10 ± 0.20   12.5",
        "none      70.10 ± 0.20      —",
    ]


def test_long_lines_are_wrapped_under_their_heading_and_names_stay_whole():
    names = "; ".join(f"model.brm=true,model.width={width},seed=0" for width in range(4))
    lines = filled(f"to run    4: {names}", 10).splitlines()
    assert max(map(len, lines)) <= 110
    assert [line[:10] for line in lines] == ["to run    ", 10 * " "]
    assert " ".join(line.strip() for line in lines).endswith(names)


def test_an_end_that_is_rounded_to_zero_shows_on_which_side_of_it_it_lies():
    assert two_ends((-0.0002, 0.0101), "%") == "−0.0 … +1.0 %"
    assert two_ends((-0.131, 0.184), "%") == "−13 … +18 %"
    assert two_ends((float("nan"), float("inf")), "%") == "NaN … +∞ %"
