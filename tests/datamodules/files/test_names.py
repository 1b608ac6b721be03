"""Names from files and settings stay in their folder, whatever they are."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.files.names import inside


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "../x", "a/../../x", "a/..", "/etc/passwd", "..\\x", "a\0b", "a\nb", "\\\\host\\x"]
)
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="leads out of its folder") as told:
        inside(name)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["000000139.jpg", "00f88c4f0a/00000.jpg", "slow plain/0003", "a..b", "…/ü.png", ".x"])
def test_an_ordinary_name_is_left_as_it_is(name: str) -> None:
    assert inside(name) == name


@given(st.text("a./\\ ", max_size=12))
def test_what_is_let_through_stays_inside(name: str) -> None:
    try:
        path = Path("/root of data", inside(name))
    except ValueError:
        return
    assert path.resolve().is_relative_to("/root of data")
    assert path.resolve() != Path("/root of data")
