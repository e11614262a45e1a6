"""Every function that a component's library is made of: which rule scheduled it, and how well."""

import re
from dataclasses import replace

import pytest
import tvm
from tir_loops import slow_loops
from tvm import tirx

from sam_tvm import components
from sam_tvm.kernels.default import rules_used
from sam_tvm.pipeline import importing, targets
from sam_tvm.pipeline.passes import pipeline
from sam_tvm.pipeline.prepare import prepare_component

X86 = "llvm -mtriple=x86_64-linux-gnu"
BUILDS = [
    pytest.param(f"{X86} -mcpu=znver4", "float32", id="avx512"),
    pytest.param(f"{X86} -mcpu=znver4", "bfloat16", id="avx512-bfloat16"),
    pytest.param(f"{X86} -mcpu=haswell", "float32", id="avx2"),
    pytest.param("llvm -mtriple=aarch64-linux-gnu", "float32", id="neon"),
]

# Operators whose loops no rule can rearrange, and why. What is here runs as TVM wrote it, but for
# its outermost loop, which is shared among threads where that is safe.
FALLBACKS = {
    "scatter_elements": "stores where its input says, a few rows of a prompt",
}

# A loop over a tensor that does not fit into a core's first cache.
LARGE_STEPS = 1 << 16
# One picture at a time; prompts are short (`tir_loops.SYMBOLIC`).
SIZES = {"B": 1}


@pytest.fixture(scope="module")
def functions(ported):
    """Return the TIR functions of a component, scheduled; those that pack its weights as well."""
    known: dict[tuple[str, str, str], dict[str, tirx.PrimFunc]] = {}

    def scheduled(name: str, target: str, precision: str) -> dict[str, tirx.PrimFunc]:
        key = (name, target, precision)
        if key not in known:
            known[key] = schedule(replace(ported, target=target, precision=precision), name)
        return known[key]

    return scheduled


def schedule(job, name: str) -> dict[str, tirx.PrimFunc]:
    (component,) = components.select([name])
    lifted, target = prepare_component(job, component), targets.resolve(job.target)
    found = {}
    for kind, module in (("", lifted.module), ("packing ", lifted.transform)):
        if module is None:
            continue
        with target, tvm.transform.PassContext(opt_level=3):
            built = pipeline(target)(module)
        found |= {
            kind + var.name_hint: function
            for var, function in built.functions_items()
            if isinstance(function, tirx.PrimFunc) and not is_of_the_machine(function)
        }
    return found


def is_of_the_machine(function: tirx.PrimFunc) -> bool:
    """Whether the virtual machine's passes made it, which compute shapes."""
    return bool(function.attrs.get("tirx.is_host_func"))


@pytest.mark.parametrize(("target", "precision"), BUILDS)
@pytest.mark.parametrize("name", [component.name for component in components.components()])
def test_every_function_has_a_rule_and_few_the_fallback(functions, name, target, precision):
    built = functions(name, target, precision)
    rules = rules_used(tvm.IRModule(built))
    assert rules.keys() == built.keys()
    assert len(built) > 10
    operators = {
        re.sub(r"^(packing )?(fused_)?|\d+$", "", name)
        for name, rule in rules.items()
        if rule == "fallback"
    }
    assert operators <= FALLBACKS.keys()


@pytest.mark.parametrize(("target", "precision"), BUILDS)
@pytest.mark.parametrize("name", [component.name for component in components.components()])
def test_no_large_loop_is_serial_and_scalar(functions, name, target, precision):
    slow = {
        label: [(loop.steps, loop.text[:200]) for loop in loops]
        for label, function in functions(name, target, precision).items()
        if function.attrs["sam_tvm.rule"] != "reshape"  # a change of shape, without a copy
        and (loops := slow_loops(function, LARGE_STEPS, SIZES))
    }
    assert slow == {}


def test_the_stock_pipeline_would_be_told(ported):
    """What this file looks for is what TVM's own pipeline leaves."""
    (component,) = components.select(["vision_backbone"])
    store = ported.store(component)
    path = store.file(importing.STAGE, importing.MODULE, importing.MADE_BY)
    module = tvm.IRModule({component.name: importing.load_function(path, component.name)})
    with targets.resolve("llvm"):
        module = tvm.relax.get_pipeline("zero")(module)
    loops = [
        slow_loops(function, LARGE_STEPS)
        for _, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc)
    ]
    assert sum(map(bool, loops)) > 10
