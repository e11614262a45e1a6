"""What the reference model, torch.export and TVM 0.27 need in order to work together.

Four kinds of patch, one blocker and one file each:

- `environment`: lets `sam3` import, build and run on a machine without a GPU;
- `model`: what `torch.export` or TVM cannot take in `sam3`'s modules;
- `importer`: converters for TVM's torch frontend;
- `compiler`: what TVM does otherwise than it should whatever it compiles.

Every file defines a `PATCH` (`sam_tvm.patches.patch.Patch`) that states the symptom. All of them,
with the tests that reproduce the blockers, are listed in NOTES/TVM_IMPORT_BLOCKER.md.
"""
