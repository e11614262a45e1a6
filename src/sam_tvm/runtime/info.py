"""What a bundle holds, for a person to read."""

from __future__ import annotations

from collections.abc import Sequence

from sam_tvm.runtime.manifest import FunctionSpec, Manifest, TensorSpec


def describe(manifest: Manifest) -> str:
    """Return a few lines on a bundle: model, files, functions, weights, versions."""
    rows = [
        ("bundle", str(manifest.folder)),
        ("model", f"{manifest.model}, preset {manifest.preset}"),
        ("target", f"{_target(manifest.target_options)}, {manifest.precision}{_stored(manifest)}"),
        ("cpu", " ".join([manifest.cpu.architecture, *manifest.cpu.instructions])),
        ("image", f"{manifest.image_size} x {manifest.image_size} pixels"),
    ]
    if manifest.context_length:
        rows.append(("text", f"{manifest.context_length} tokens, start and end included"))
    for name, file in manifest.files.items():
        rows.append((name, f"{file.name}, {_size(file.bytes)}, sha256 {file.sha256[:16]}"))
    for key in ("weights", "versions"):
        values = manifest.raw.get(key)
        if isinstance(values, dict):
            rows.append((f"{key} from" if key == "weights" else key, _pairs(values)))
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:{width}}  {text}" for label, text in rows]
    lines += [_function(function) for function in manifest.functions.values()]
    return "\n".join(lines)


def _stored(manifest: Manifest) -> str:
    stored = manifest.raw.get("stored_weights", "float")
    return "" if stored == "float" else f", weights of {stored}"


def _target(options: dict[str, object]) -> str:
    given = {key: options[key] for key in ("mcpu", "mtriple", "mattr") if key in options}
    shown = [
        f"-{key}={','.join(value) if isinstance(value, list) else value}"
        for key, value in given.items()
    ]
    return " ".join([str(options.get("kind")), *shown])


def _function(function: FunctionSpec) -> str:
    return (
        f"{function.name}, {len(function.params)} parameters\n"
        f"  from {_tensors(function.inputs)}\n  to   {_tensors(function.outputs)}"
    )


def _tensors(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(
        f"{tensor.name} {tensor.dtype} ({', '.join(map(str, tensor.shape))})" for tensor in tensors
    )


def _pairs(values: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value not in ({}, None))


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"
