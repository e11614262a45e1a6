"""Which records a build uses, and what they change."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relax

from sam_tvm import components
from sam_tvm.kernels.default import rules_used
from sam_tvm.pipeline import build
from sam_tvm.pipeline.passes import pipeline
from sam_tvm.runtime.errors import UserError
from sam_tvm.tuning import database
from sam_tvm.tuning.database import Machine, Record, function_key


def record(trace):
    return Record("test.sum", "reduction", 2.0, 1.0, 0.0, trace)


def compiled(module, target, tuned=True):
    with target, tvm.transform.PassContext(opt_level=3):
        return pipeline(target, tuned)(module)


def test_a_build_uses_the_record_and_computes_the_same(module, function, trace, target, records):
    records({function_key(function): record(trace)})
    results = []
    for tuned, rule in ((True, "tuned"), (False, "reduction")):
        found = compiled(module, target, tuned)
        assert list(rules_used(found).values()) == [rule]
        with target:
            library = relax.build(found, target, relax_pipeline=None)
        x = np.random.default_rng(0).standard_normal((64, 256), dtype=np.float32)
        call = relax.VirtualMachine(library, tvm.cpu())["main"]
        results.append(call(tvm.runtime.tensor(x)).numpy())
        np.testing.assert_allclose(results[-1], x.astype(np.float64).sum(0), rtol=1e-4, atol=1e-4)


def test_another_machines_records_leave_the_build_as_it_is(
    module, function, trace, target, records
):
    untouched = compiled(module, target)
    here = Machine.of(target)
    for other in (
        replace(here, mcpu="znver9"),
        replace(here, features=here.features[1:]),
        replace(here, features=(*here.features, "telepathy")),
    ):
        records({function_key(function): record(trace)}, other)
        assert database.find(target) is None
        tvm.ir.assert_structural_equal(compiled(module, target), untouched)


def test_a_target_of_another_cpu_has_no_records(function, trace, records):
    records({function_key(function): record(trace)})
    assert database.find(tvm.target.Target({"kind": "llvm", "mcpu": "haswell"})) is None


def test_steps_that_do_not_fit_leave_the_function_to_our_rule(
    module, function, trace, target, records
):
    wrong = [[[*step] for step in trace[0]], trace[1]]
    wrong[0][0] = ["GetSBlock", [], ["no_such_block", "main"], wrong[0][0][3]]
    records({function_key(function): record(wrong)})
    assert list(rules_used(compiled(module, target)).values()) == ["reduction"]


def test_applying_steps_does_not_change_the_functions_key(function, trace, target):
    from sam_tvm.tuning.apply import tuned

    key = function_key(function)
    tuned(function, trace)
    tuned(function, trace)
    assert function_key(function) == key


def test_records_are_read_as_they_were_written(function, trace, target, records):
    found = {function_key(function): record(trace)}
    records(found)
    assert database.find(target) == database.Database(Machine.of(target), found)


@pytest.mark.parametrize("text", ["", "{}", '{"format_version": 7}', "[1, 2]"])
def test_a_file_that_is_none_is_one_line(tmp_path, target, records, text):
    records({})
    database.path_of(target).write_text(text)
    with pytest.raises(UserError, match="is no file of tuned functions") as caught:
        database.find(target)
    assert "\n" not in str(caught.value)


def test_the_records_are_part_of_the_librarys_key(ported, function, trace, target, records):
    (component,) = components.select(["scoring_head"])
    another = replace(Machine.of(target), mcpu="znver9")
    records({}, another)  # instead of those that the package may have for this machine
    before = build.library_key(ported, component)
    records({function_key(function): record(trace)}, another)
    assert build.library_key(ported, component) == before
    records({function_key(function): record(trace)})
    assert build.library_key(ported, component) != before
    assert build.library_key(replace(ported, tuned=False), component) == before
