"""What a loaded bundle and a running segmenter hold in memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import relax as R

MIB = 1 << 20
ELEMENTS = 256 * MIB // 4

# Prints what a step adds to the memory of the process: of its own, and of mapped files. (MiB)
MEASURE = """
import json, re, sys
import numpy as np
from sam_tvm.runtime.bundle import Bundle

def memory():
    text = open("/proc/self/status").read()
    return [int(re.search(rf"Rss{kind}:\\s+(\\d+)", text)[1]) / 1024 for kind in ("Anon", "File")]

x = np.ones((1, 4), np.float32)
before = memory()
bundle = Bundle.load(sys.argv[1])
sums = [float(bundle.call(name, {"x": x})["y"]) for name in ("total", "again")]
print(json.dumps([sums, [now - then for now, then in zip(memory(), before)]]))
"""


@R.function
def total(x: R.Tensor((1, 4), "float32"), weight: R.Tensor((8192, 8192), "float32")):
    with R.dataflow():
        sums = R.sum(weight, axis=1)
        whole = R.sum(sums)
        out = (R.add(whole, R.sum(x)), sums)
        R.output(out)
    return out


@pytest.fixture
def large_bundle(affine_bundle, rewrite_manifest) -> Path:
    """A bundle of two functions that read one weight of 256 MiB."""
    functions = {name: total.with_attr("global_symbol", name) for name in ("total", "again")}
    library = relax.build(tvm.IRModule(functions), target=tvm.target.Target("llvm"))
    library.export_library(str(affine_bundle / "lib.so"))
    entry = {"dtype": "F32", "shape": [8192, 8192], "data_offsets": [0, 4 * ELEMENTS]}
    header = json.dumps({"weight": entry}).encode()
    header += b" " * (-(8 + len(header)) % 64)
    with (affine_bundle / "weights.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for _ in range(256):
            file.write(np.full(MIB // 4, 0.25, np.float32).tobytes())
    described = {
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 4]}],
        "outputs": [
            {"name": "y", "dtype": "float32", "shape": []},
            {"name": "sums", "dtype": "float32", "shape": [8192]},
        ],
        "params": ["weight"],
    }
    rewrite_manifest(affine_bundle, {"functions": dict.fromkeys(functions, described)})
    return affine_bundle


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_weights_are_in_memory_once_and_belong_to_the_file(large_bundle):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(large_bundle)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    sums, (own, mapped) = json.loads(done.stdout)
    assert sums == [pytest.approx(ELEMENTS / 4 + 4)] * 2
    assert 256 <= mapped < 256 + 64  # and the libraries' code
    assert own < 128  # the tokenizer and the like
