"""Which engines are run, in which order, and why some are not."""

import importlib.util

import pytest

from sam_tvm.benchmark.engines import ENGINES, OURS, rotated, select
from sam_tvm.runtime.errors import UnknownNameError


def names(engines):
    return [engine.name for engine in engines]


def test_every_round_starts_with_another_engine_and_has_all_of_them():
    engines = select(["eager", "onnxruntime"])
    orders = [names(rotated(engines, index)) for index in range(4)]
    assert orders == [
        ["tvm", "eager", "onnxruntime"],
        ["eager", "onnxruntime", "tvm"],
        ["onnxruntime", "tvm", "eager"],
        ["tvm", "eager", "onnxruntime"],
    ]


def test_ours_is_always_among_them_and_named_once():
    assert names(select(None)) == list(ENGINES)
    assert names(select([])) == [OURS]
    assert names(select(["eager", "tvm", "eager"])) == ["tvm", "eager"]


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'tensorrt'.*onnxruntime"):
        select(["eager", "tensorrt"])


def test_an_engine_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reason = ENGINES["openvino"].why_not("float32")
    assert reason.startswith("openvino, onnx, onnxscript not installed")
    assert "sam-tvm[bench]" in reason
    assert ENGINES["eager"].why_not("bfloat16") is None


@pytest.mark.parametrize("engine", ["onnxruntime", "tvm-stock"])
def test_engines_without_bfloat16_say_so(engine):
    assert "float" in ENGINES[engine].why_not("bfloat16")


def test_on_a_gpu_only_engines_that_use_it_are_timed():
    assert ENGINES[OURS].why_not("float16", "cuda") is None
    assert ENGINES["eager"].why_not("float16", "cuda") is None
    assert ENGINES["eager"].why_not("float32", "metal") == "not timed on metal"
    assert ENGINES["onnxruntime"].why_not("float32", "cuda") == "not timed on cuda"


def test_spconv_is_timed_on_what_has_sparse_tensors_with_one_thread():
    spconv = ENGINES["spconv"]
    assert spconv.why_not_time("gs_decoder", 1) is None
    assert "--threads 1" in spconv.why_not_time("gs_decoder", 2)
    assert spconv.why_not_time("text_encoder", 1) == "has no sparse tensors"
    assert ENGINES["eager"].why_not_time("gs_decoder", 2) is None
