"""The table of published weights."""

import re

import pytest
import torch

from lightning_modules.nets import NETS, build_net
from lightning_modules.nets.official import OFFICIAL
from lightning_modules.nets.published import PUBLISHED, published


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_row_is_of_a_net_that_reads_it_and_says_whose_it_is(name: str) -> None:
    row = published(name)
    assert name.startswith(row.net)
    assert row.net in NETS
    assert dict(row.options) in OFFICIAL[row.net].variants
    with torch.device("meta"):
        build_net(row.net, **row.options)
    assert row.sha256 is None or re.fullmatch("[0-9a-f]{64}", row.sha256)
    assert row.address.startswith("https://")
    assert row.source.startswith("https://")
    assert row.licence


def test_no_two_rows_share_a_file_or_a_hash() -> None:
    hashes = [row.sha256 for row in PUBLISHED.values() if row.sha256 is not None]
    assert len(set(hashes)) == len(hashes)
    assert len({row.file for row in PUBLISHED.values()}) == len(PUBLISHED)


def test_torchvisions_files_begin_with_the_digits_in_their_names() -> None:
    rows = [row for row in PUBLISHED.values() if "pytorch.org" in row.address]
    assert len(rows) == 4
    for row in rows:
        assert row.sha256 is not None
        assert row.file.endswith(f"-{row.sha256[:8]}.pth")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"called 'rvm_mobilenet3'.*nearest first: rvm_mobilenetv3, "):
        published("rvm_mobilenet3")
