import threading
import time
from collections.abc import Generator
from contextlib import closing

import pytest

from experiments.matting.pipeline import PIECES_AHEAD, ahead


def test_items_come_in_order() -> None:
    assert list(ahead(number for number in range(20))) == list(range(20))


def test_no_more_is_made_ahead_than_may_wait() -> None:
    made = []

    def items() -> Generator[int, None, None]:
        for number in range(100):
            made.append(number)
            yield number

    with closing(ahead(items())) as numbers:
        assert next(numbers) == 0
        time.sleep(0.3)
        assert len(made) <= PIECES_AHEAD + 2  # those that wait, the one taken, and the one in hand


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise ValueError("frame 1 is damaged")

    numbers = ahead(items())
    assert next(numbers) == 1
    with pytest.raises(ValueError, match="frame 1 is damaged"):
        next(numbers)


def test_closing_ends_the_threads_and_what_they_read() -> None:
    ended = []

    def items() -> Generator[int, None, None]:
        try:
            yield from range(100)
        finally:
            ended.append(threading.current_thread())

    before = threading.active_count()
    with closing(ahead(number for number in ahead(items()))) as numbers:
        next(numbers)
    assert threading.active_count() == before
    assert len(ended) == 1
