import numpy as np
import pytest

from sam_tvm.benchmark.memory import peak_rss_bytes, reset_peak_rss

SIZE = 200 << 20


def test_the_peak_holds_what_was_freed_until_it_is_reset():
    if not reset_peak_rss():
        pytest.skip("this system cannot reset the peak")
    before = peak_rss_bytes()
    np.ones(SIZE, np.uint8)
    high = peak_rss_bytes()
    assert high - before > 0.9 * SIZE
    assert reset_peak_rss()
    assert high - peak_rss_bytes() > 0.9 * SIZE
