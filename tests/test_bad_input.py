"""What cannot be used is refused: one line on stderr, exit status 2, and no file changed.

What the runtime refuses (prompts, pictures, damaged bundles) is tested in test_cli.py and runtime/.
"""

import contextlib
import os
import pickle
import re
import resource
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from sam_tvm import components
from sam_tvm.cli import main
from sam_tvm.models.presets import PRESETS, get_preset
from sam_tvm.models.sam3.checkpoint import save_reference_checkpoint
from sam_tvm.models.sam3.weights import load_model
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline import export

EXPORT, IMPORT, BUILD, BUNDLE = "01_export.py", "02_import.py", "03_build.py", "04_bundle.py"
SCRIPTS = (EXPORT, IMPORT, BUILD, BUNDLE, "verify_components.py", "run_end_to_end.py")
NAMES = tuple(component.name for component in components.components("sam3"))
SMALL = "scoring_head"  # the component that is ported fastest
KEY = "detector.dot_prod_scoring.hs_proj.weight"
PROGRESS_BAR = re.compile(r"\d+%\|")


@pytest.fixture
def refusal(capfd, tmp_path, contents):
    """Run something that must be refused, without a change in tmp_path; returns the message."""

    def call(command, *arguments: object) -> str:
        before = contents(tmp_path)
        capfd.readouterr()
        status = command(*map(str, arguments))
        output, errors = capfd.readouterr()
        lines = [line for line in re.split(r"[\r\n]+", errors) if line.strip()]
        (message,) = [line for line in lines if not PROGRESS_BAR.search(line)]
        assert status == 2
        assert output == ""
        assert message.startswith("error: ")
        assert contents(tmp_path) == before
        return message

    return call


def sam_tvm(*arguments: str) -> int:
    return main(arguments)


def flip_byte(path: Path, share: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1
    path.write_bytes(data)


# Names


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("--preset", tuple(PRESETS)),
        ("--only", NAMES),
        ("--target", ("llvm", "-mcpu=")),
        ("--precision", ("float32",)),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(
    refusal, run_script, tmp_path, script, option, known
):
    if script in (EXPORT, IMPORT) and option in ("--target", "--precision"):
        known = ("unrecognized arguments",)
    message = refusal(run_script, script, "--artifacts", tmp_path, option, "nonsense")
    assert "nonsense" in message
    assert all(name in message for name in known)


def test_no_process_at_all_is_refused(refusal, run_script, tmp_path):
    arguments = ("--artifacts", tmp_path, "--processes", "0")
    message = refusal(run_script, EXPORT, *arguments)
    assert message.strip() == "error: --processes must be at least 1, not 0"


@pytest.mark.parametrize("option", ["--minutes", "--trials"])
def test_tuning_without_time_or_trials_is_refused(refusal, run_script, tmp_path, option):
    arguments = ("--artifacts", tmp_path, option, "0")
    message = refusal(run_script, "tune_with_metaschedule.py", *arguments)
    assert "--minutes and --trials must be more than 0" in message


@pytest.mark.parametrize("command", ["port", "verify", "bundle"])
def test_unknown_targets_are_refused_before_anything_is_made(refusal, tmp_path, command):
    message = refusal(sam_tvm, command, "--artifacts", tmp_path, "--target", "../llvm")
    assert "known targets: llvm" in message


@pytest.mark.parametrize("script", ["verify_components.py", "run_end_to_end.py"])
def test_nothing_to_compare_names_the_script_to_run(refusal, run_script, tmp_path, script):
    message = refusal(run_script, script, "--artifacts", tmp_path / "artifacts")
    assert "run scripts/01_export.py first" in message


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Weights of another seed in the reference's format."""
    path = tmp_path_factory.mktemp("checkpoint") / "sam3.pt"
    with reference_environment():
        model, _ = load_model(get_preset("tiny"), seed=3)
        save_reference_checkpoint(model, path)
    return path


@pytest.fixture
def entries(checkpoint) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["model"]


class RunsCode:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return self.path.touch, ()


def refused_checkpoint(refusal, run_script, copied, path: Path) -> str:
    """Offer a checkpoint for a component that is exported, which must stay as it is."""
    job = copied(SMALL)
    return refusal(
        run_script, EXPORT, "--artifacts", job.artifacts, "--only", SMALL, "--checkpoint", path
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_checkpoint_is_refused(
    refusal, run_script, copied, checkpoint, tmp_path, share
):
    data = checkpoint.read_bytes()
    (tmp_path / "short.pt").write_bytes(data[: int(share * len(data))])
    message = refused_checkpoint(refusal, run_script, copied, tmp_path / "short.pt")
    assert "short.pt is not a readable checkpoint" in message


@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_a_checkpoint_that_would_run_code_does_not(
    refusal, run_script, copied, checkpoint, tmp_path, form
):
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    evil = pickle.dumps({"model": {KEY: RunsCode(trace)}}, protocol=2)
    pickle.loads(evil)  # the file does what it is meant to do, where it is trusted
    trace.unlink()
    if form == "pickle":
        path.write_bytes(evil)
    else:
        with zipfile.ZipFile(checkpoint) as good, zipfile.ZipFile(path, "w") as bad:
            for name in good.namelist():
                bad.writestr(name, evil if name.endswith("/data.pkl") else good.read(name))
    message = refused_checkpoint(refusal, run_script, copied, path)
    assert "could run code" in message
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop(KEY), rf"expected (\d+) keys, got (?!\1)\d+\): 1 key missing: {KEY}$"),
        (lambda e: e.update(extra=torch.ones(1)), "1 key unexpected: extra$"),
        (
            lambda e: e.update({KEY: torch.ones(3, 4)}),
            rf"1 key of another shape: {KEY} \(expected \(64, 64\), got \(3, 4\)\)$",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_expected_and_got(
    refusal, run_script, copied, entries, tmp_path, change, message
):
    change(entries)
    torch.save({"model": entries}, tmp_path / "misfit.pt")
    text = refused_checkpoint(refusal, run_script, copied, tmp_path / "misfit.pt")
    assert re.search(message, text), text


def test_a_refused_checkpoint_makes_no_folder(refusal, tmp_path):
    (tmp_path / "text.pt").write_text("weights")
    arguments = ("--artifacts", tmp_path / "artifacts", "--checkpoint", tmp_path / "text.pt")
    assert "text.pt is not a readable" in refusal(sam_tvm, "port", *arguments)
    assert "no checkpoint" in refusal(sam_tvm, "port", "--checkpoint", tmp_path / "none.pt")
    assert "no checkpoint" in refusal(sam_tvm, "port", "--checkpoint", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["text.pt"]


def test_a_checkpoint_that_changed_after_the_export_is_refused(
    refusal, run_script, copied, checkpoint, tmp_path
):
    job = copied(SMALL)
    path = tmp_path / "sam3.pt"
    path.write_bytes(checkpoint.read_bytes())
    arguments = ("--artifacts", str(job.artifacts), "--only", SMALL)
    assert run_script(EXPORT, *arguments, "--checkpoint", str(path)) == 0
    flip_byte(path)
    assert "has changed" in refusal(run_script, "verify_components.py", *arguments)
    path.unlink()
    assert "is gone" in refusal(run_script, "verify_components.py", *arguments)


def test_components_of_different_weights_are_not_bundled(refusal, run_script, copied, checkpoint):
    job = copied(*NAMES, "sam3_end_to_end")
    arguments = ("--artifacts", str(job.artifacts), "--only", SMALL)
    assert run_script(EXPORT, *arguments, "--checkpoint", str(checkpoint)) == 0
    assert run_script(IMPORT, *arguments) == 0
    message = refusal(run_script, BUNDLE, "--artifacts", job.artifacts)
    assert "different weights: run scripts/01_export.py for all" in message


# Artifacts and bundles


@pytest.mark.parametrize(
    ("damaged", "stage", "unmade"),
    [
        ("exported.pt2", IMPORT, "module.json"),
        ("module.json", BUILD, "{library}"),
    ],
)
def test_a_corrupt_artifact_is_refused_by_the_next_stage(
    refusal, run_script, copied, damaged, stage, unmade
):
    job = copied(SMALL)
    folder = job.folder / SMALL
    (library,) = (folder / job.build_name).glob("lib-*.so")
    (folder / unmade.format(library=f"{job.build_name}/{library.name}")).unlink()
    flip_byte(folder / damaged)
    message = refusal(run_script, stage, "--artifacts", job.artifacts, "--only", SMALL)
    assert f"{damaged} is corrupt (its hash differs): delete it, run scripts/0" in message


def test_the_advice_for_a_corrupt_artifact_mends_it(run_script, copied, contents):
    job = copied(SMALL)
    component = components.select([SMALL])[0]
    (job.folder / SMALL / export.EXPORTED).unlink()
    arguments = ("--artifacts", str(job.artifacts), "--only", SMALL)
    assert run_script(EXPORT, *arguments) == 0
    assert run_script(IMPORT, *arguments) == 0
    job.store(component).file(export.STAGE, export.EXPORTED, "")  # is what its hash says


@pytest.mark.parametrize("damaged", ["params.safetensors", "library"])
def test_a_corrupt_artifact_is_refused_by_the_bundle(refusal, copied, damaged):
    job = copied(*NAMES, "sam3_end_to_end")
    (library,) = (job.folder / "sam3_end_to_end" / job.build_name).iterdir()
    params = job.folder / NAMES[-1] / job.build_name / damaged
    flip_byte(library if damaged == "library" else params)
    message = refusal(sam_tvm, "bundle", "--artifacts", job.artifacts)
    assert "is corrupt (its hash differs)" in message
    assert not job.bundle_folder("sam3").exists()


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "grey.png"
    Image.new("L", (30, 20), 90).save(path)
    return path


@pytest.mark.parametrize("kind", ["manifest", "library", "weights", "tokenizer"])
def test_a_flipped_byte_in_any_file_of_a_bundle_is_refused(
    refusal, copied, picture, tmp_path, kind
):
    job = copied("bundles")
    bundle = job.bundle_folder("sam3")
    names = {"manifest": "manifest.json", "tokenizer": "tokenizer.json"}
    names |= {"weights": "weights.safetensors", "library": next(bundle.glob("lib-*.so")).name}
    flip_byte(bundle / names[kind], share=0.7)
    arguments = ("--bundle", bundle, "--text", "a cat", "--out", tmp_path / "out")
    assert names[kind] in refusal(sam_tvm, "info", bundle)
    assert names[kind] in refusal(sam_tvm, "segment", picture, *arguments)
    assert not (tmp_path / "out").exists()


def test_the_advice_for_a_damaged_bundle_mends_it(ported, copied, contents):
    job = copied(*NAMES, "sam3_end_to_end", "bundles")
    bundle = job.bundle_folder("sam3")
    flip_byte(bundle / "weights.safetensors")
    assert main(["bundle", "--artifacts", str(job.artifacts), "--only", *NAMES]) == 0
    assert contents(bundle) == contents(ported.bundle_folder("sam3"))


# Prompts


@pytest.mark.parametrize("text", ["x" * 10_000, "\N{CAT} " * 5_000, "'s" * 5_000])
def test_prompts_of_10000_characters_are_refused(refusal, picture, bundle, tmp_path, text):
    arguments = ("--bundle", bundle, "--out", tmp_path / "out", "--text", text)
    assert "10000 characters" in refusal(sam_tvm, "segment", picture, *arguments)
    assert not (tmp_path / "out").exists()


# The system


@pytest.fixture
def locked(tmp_path):
    """A folder in which nothing can be made."""
    if os.geteuid() == 0:  # root may write anywhere, but not make folders in sysfs
        return Path("/sys")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    return folder


def test_artifacts_without_write_permission_are_one_line(refusal, run_script, locked):
    message = refusal(run_script, EXPORT, "--artifacts", locked / "artifacts", "--only", SMALL)
    assert str(locked / "artifacts") in message


def test_artifacts_that_are_a_file_are_one_line(refusal, run_script, tmp_path):
    (tmp_path / "artifacts").write_text("a file")
    message = refusal(run_script, EXPORT, "--artifacts", tmp_path / "artifacts", "--only", SMALL)
    assert str(tmp_path / "artifacts") in message


@contextlib.contextmanager
def full_disk():
    """Let no file grow beyond 20 kB; what is refused then is refused as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("stage", [EXPORT, IMPORT])
def test_a_full_disk_leaves_the_former_artifacts(refusal, run_script, copied, stage):
    job = copied(SMALL)
    component = components.select([SMALL])[0]
    made = {EXPORT: "exported.pt2", IMPORT: "module.json"}[stage]
    (job.folder / SMALL / made).unlink()
    arguments = ("--artifacts", str(job.artifacts), "--only", SMALL)
    with full_disk():
        assert "too large" in refusal(run_script, stage, *arguments)
    assert run_script(stage, *arguments) == 0
    assert (job.folder / SMALL / made).is_file()
    assert job.store(component).manifest


def test_a_full_disk_leaves_the_former_bundle(refusal, copied, ported, contents):
    job = copied(*NAMES, "sam3_end_to_end", "bundles")
    flip_byte(job.bundle_folder("sam3") / "tokenizer.json")
    arguments = ("--artifacts", job.artifacts, "--only", *NAMES)
    with full_disk():
        assert "too large" in refusal(sam_tvm, "bundle", *arguments)
    assert main(["bundle", *map(str, arguments)]) == 0
    assert contents(job.bundle_folder("sam3")) == contents(ported.bundle_folder("sam3"))
