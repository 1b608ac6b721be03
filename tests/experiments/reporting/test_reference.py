"""What a run says of the committed scores."""

import pytest

from experiments.reporting.reference import against_reference

HEAD = "label,metric,stratum,primary,by_seed\n"
ROWS = """\
with,mad,all,True,0:70.5 1:60
with,mad,static,True,0:1 1:1
with,sad,all,False,0:9 1:9
without,mad,all,True,0:80
"""


@pytest.fixture
def said(tmp_path):
    """Writes two tables and gives the line on them."""

    def say(rows, reference=ROWS):
        for folder, text in {"one/tiny": rows, "reference/one/tiny": reference}.items():
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "scores.csv").write_text(HEAD + text)
        return against_reference(tmp_path / "one" / "tiny").replace(str(tmp_path), "results")

    return say


def test_equal_scores_of_the_seeds_and_arms_that_both_have_are_the_references(said):
    assert (
        said("with,mad,all,True,0:70.5 2:7\n") == "all 1 scores that both have are those of results/reference/one/tiny"
    )


def test_only_the_primary_metrics_over_all_clips_count(said):
    changed = ROWS.replace("0:9", "0:8").replace("0:1 ", "0:2 ")
    assert said(changed) == "all 3 scores that both have are those of results/reference/one/tiny"


def test_the_score_that_is_furthest_off_is_told(said):
    assert said(ROWS.replace("1:60", "1:66").replace("0:80", "0:81")) == (
        "2 of 3 scores differ from results/reference/one/tiny, most by 0.1 of it: mad of with, seed 1, is 66 here and "
        "60 there"
    )


def test_without_a_reference_or_anything_in_common_nothing_is_claimed(said, tmp_path):
    assert against_reference(tmp_path / "two" / "tiny") == ""
    assert said("other,mad,all,True,0:1\n") == "no arm and seed of results/reference/one/tiny is in this report"
