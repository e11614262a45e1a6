import pytest

from sam_tvm.pipeline.store import ArtifactError, Store
from sam_tvm.runtime.errors import UserError


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "component")


def make_file(name: str, text: str):
    def make(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        return {"fact": text}

    return make


def test_stage_is_current_for_its_own_key_only(store):
    store.commit("export", "key-1", make_file("exported.pt2", "program"), {"component": "c"})
    assert store.is_current("export", "key-1")
    assert not store.is_current("export", "key-2")
    assert not store.is_current("import", "key-1")


def test_stage_with_a_missing_or_shortened_file_is_not_current(store):
    store.commit("export", "key", make_file("exported.pt2", "program"), {})
    (store.folder / "exported.pt2").write_text("pro")
    assert not store.is_current("export", "key")
    (store.folder / "exported.pt2").unlink()
    assert not store.is_current("export", "key")


def test_corrupt_file_is_refused_by_hash(store):
    store.commit("export", "key", make_file("exported.pt2", "program"), {})
    (store.folder / "exported.pt2").write_text("progrbm")
    with pytest.raises(ArtifactError, match="corrupt"):
        store.file("export", "exported.pt2", "scripts/01_export.py")


def test_missing_stage_names_the_script_to_run(store):
    with pytest.raises(ArtifactError, match=r"run scripts/01_export\.py first"):
        store.file("export", "exported.pt2", "scripts/01_export.py")


def failing(error: BaseException):
    def make(folder):
        (folder / "exported.pt2").write_text("half")
        raise error

    return make


def test_failed_stage_removes_the_stale_outputs_and_what_was_made_of_them(store):
    store.commit("export", "key", make_file("exported.pt2", "program"), {})
    store.commit("import", "key", make_file("module.json", "module"), {})
    with pytest.raises(ValueError, match="no"):
        store.commit("export", "key-2", failing(ValueError("no")), {})
    assert store.record("export") is None
    assert store.record("import") is None
    assert [path.name for path in store.folder.iterdir()] == ["manifest.json"]


def test_failed_later_stage_keeps_the_earlier_one(store):
    store.commit("export", "key", make_file("exported.pt2", "program"), {})
    store.commit("import", "key", make_file("module.json", "module"), {})
    with pytest.raises(ValueError, match="no"):
        store.commit("import", "key-2", failing(ValueError("no")), {})
    assert store.is_current("export", "key")
    assert store.record("import") is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("no such file")])
def test_interrupted_stage_leaves_the_former_outputs(store, error):
    store.commit("export", "key", make_file("exported.pt2", "program"), {})
    with pytest.raises(type(error)):
        store.commit("export", "key-2", failing(error), {})
    assert store.file("export", "exported.pt2", "").read_text() == "program"
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "exported.pt2",
        "manifest.json",
    ]


def test_rebuilt_stage_removes_files_of_other_names(store):
    store.commit("build", "1", make_file("llvm/lib-1.so", "one"), {})
    store.commit("build", "2", make_file("llvm/lib-2.so", "two"), {})
    assert [path.name for path in (store.folder / "llvm").iterdir()] == ["lib-2.so"]


def test_dropped_file_is_current_but_cannot_be_used(store):
    store.commit("export", "key", make_file("exported.pt2", "program"), {})
    store.drop("export", "exported.pt2")
    assert not (store.folder / "exported.pt2").exists()
    assert store.is_current("export", "key")
    with pytest.raises(ArtifactError, match="gone"):
        store.file("export", "exported.pt2", "scripts/01_export.py")


def test_failed_build_keeps_the_builds_of_other_precisions(store):
    for name in ("float32", "bfloat16"):
        store.commit(f"weights/llvm-{name}", "key", make_file(f"{name}/params", "weights"), {})
        store.commit(f"build/llvm-{name}", "key", make_file(f"{name}/lib.so", "library"), {})
    with pytest.raises(ValueError, match="no"):
        store.commit("weights/llvm-float32", "key-2", failing(ValueError("no")), {})
    assert store.record("build/llvm-float32") is None
    assert store.is_current("build/llvm-bfloat16", "key")
