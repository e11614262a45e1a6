"""A bundle: a compiled model, its weights and what else it needs, in a folder or an archive."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import tvm
from tvm.runtime.vm import VirtualMachine

from sam_tvm.runtime.device import find_device, shares_memory, to_array, to_device
from sam_tvm.runtime.errors import BundleError, UnknownNameError, UserError
from sam_tvm.runtime.manifest import (
    FunctionSpec,
    Manifest,
    TensorSpec,
    read_manifest,
    verify_files,
)
from sam_tvm.runtime.storage import FileSpec
from sam_tvm.runtime.threads import allow_all_cpus
from sam_tvm.runtime.tokenizer import Tokenizer
from sam_tvm.runtime.verified import verify_once
from sam_tvm.runtime.weights import map_weights


class Bundle:
    """A loaded bundle.

    Attributes:
        manifest: what `manifest.json` says.

    """

    def __init__(self, manifest: Manifest, verify: bool | None = None) -> None:
        """Load what a manifest names; see `load`."""
        self._device = _device(manifest)
        if verify is None:
            verify_once(manifest)
        elif verify:
            verify_files(manifest)
        self.manifest = manifest
        files = manifest.files
        self._tokenizer: Tokenizer | None = None
        if "tokenizer" in files:
            self._tokenizer = Tokenizer(files["tokenizer"].read(), manifest.context_length)
        stored = files["weights"]
        mapped = map_weights(stored.path, stored.offset or 0, stored.bytes)
        weights = {name: to_device(tensor, self._device) for name, tensor in mapped.items()}
        self._params = {
            name: _select(weights, function) for name, function in manifest.functions.items()
        }
        machine = _load_library(files["library"], self._device)
        self._functions = {name: _lookup(machine, name) for name in manifest.functions}

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            BundleError: the model takes no text.

        """
        if self._tokenizer is None:
            raise BundleError(f"{self.manifest.folder}: {self.manifest.model} takes no text")
        return self._tokenizer

    @classmethod
    def load(cls, folder: str | Path, verify: bool | None = None) -> Bundle:
        """Load a bundle.

        Args:
            folder: where `manifest.json` lies, or an archive of it.
            verify: compare every file with its SHA-256 first, which takes 1 to 6 seconds per GB,
                less where the processor has SHA instructions. None: unless this machine has done
                so before and the files have not changed since; False: never.

        Raises:
            BundleError: something is missing, damaged, of another format, for another device or
                for a CPU with instructions that this one lacks.

        """
        return cls(read_manifest(folder), verify)

    def call(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a function of the bundle.

        Args:
            name: as in the manifest; SAM3's are "encode_image", "encode_text" and "ground",
                SAM-3D-Objects' are its components.
            inputs: arrays by name, of exactly the dtypes and shapes that the manifest gives.

        Returns:
            Arrays by name. On a CPU they are views of TVM's memory, which they keep alive.

        Raises:
            UnknownNameError: the bundle has no such function.
            ValueError: an input is missing or unknown, or has another dtype or shape.

        """
        if name not in self._functions:
            known = ", ".join(self._functions)
            raise UnknownNameError(f"the bundle has no function {name!r}, it has: {known}")
        spec = self.manifest.functions[name]
        _check_inputs(spec, inputs)
        arguments = [_to_tvm(inputs[tensor.name], self._device) for tensor in spec.inputs]
        outputs = self._functions[name](*arguments, *self._params[name])
        return {
            tensor.name: to_array(output, self._device)
            for tensor, output in zip(spec.outputs, outputs, strict=True)
        }


def release_workspace() -> None:
    """Give memory that no array uses any more back to the system.

    TVM keeps what a function worked in for the next call of the same function; another one, whose
    arrays have other sizes, asks for more.
    """
    tvm.get_global_func("vm.builtin.memory_manager.clear")()


def _device(manifest: Manifest) -> tvm.runtime.Device:
    """The device to run on; refuses a library that would end the process if it were called."""
    if reason := manifest.cpu.unmet():
        raise BundleError(f"{manifest.folder} {reason}")
    kind = str(manifest.target_options.get("kind"))
    try:
        return find_device(kind)
    except UserError as error:
        raise BundleError(f"{manifest.folder} is built for {kind}: {error}") from error


def _select(
    weights: dict[str, tvm.runtime.Tensor], function: FunctionSpec
) -> list[tvm.runtime.Tensor]:
    missing = [name for name in function.params if name not in weights]
    if missing:
        raise BundleError(
            f"the bundle's weights lack {len(missing)} parameters of {function.name}, "
            f"the first is {missing[0]}: build the bundle again"
        )
    return [weights[name] for name in function.params]


def _load_library(file: FileSpec, device: tvm.runtime.Device) -> VirtualMachine:
    try:
        allow_all_cpus()
        return VirtualMachine(_load_module(file), device)
    except Exception as error:  # the loader of shared objects and TVM raise several types
        reason = str(error).strip().splitlines()
        raise BundleError(
            f"{file} cannot be loaded on this machine ({reason[-1] if reason else error!r}): "
            "build the bundle here, with this version of TVM"
        ) from error


def _load_module(file: FileSpec) -> tvm.runtime.Module:
    """Load a library; the system loads files alone, so that one in an archive is taken out."""
    if file.offset is None:
        return tvm.runtime.load_module(str(file.path))
    with tempfile.TemporaryDirectory() as folder:  # it stays loaded when its file is gone
        path = Path(folder) / Path(file.name).name
        path.write_bytes(file.read())
        return tvm.runtime.load_module(str(path))


def _lookup(machine: VirtualMachine, name: str) -> tvm.runtime.Object:
    try:
        return machine[name]
    except AttributeError:
        raise BundleError(
            f"the bundle's library has no function {name!r}: build the bundle again"
        ) from None


def _check_inputs(function: FunctionSpec, inputs: Mapping[str, np.ndarray]) -> None:
    expected = [tensor.name for tensor in function.inputs]
    if set(inputs) != set(expected):
        raise ValueError(f"{function.name} takes {expected}, got {list(inputs)}")
    sizes: dict[str, int] = {}
    for tensor in function.inputs:
        _check_tensor(function.name, tensor, inputs[tensor.name], sizes)


def _check_tensor(
    function: str, tensor: TensorSpec, array: np.ndarray, sizes: dict[str, int]
) -> None:
    """Compare an array with its specification; `sizes` collects what the named sizes are."""
    fits = str(array.dtype) == tensor.dtype and array.ndim == len(tensor.shape)
    if fits:
        for size, wanted in zip(array.shape, tensor.shape, strict=True):
            if isinstance(wanted, str):
                wanted = sizes.setdefault(wanted, size)
            fits = fits and size == wanted
    if not fits:
        known = {name: sizes[name] for name in tensor.shape if isinstance(name, str) and sizes}
        where = f" where {known}" if known else ""
        raise ValueError(
            f"{function}: {tensor.name} must be {tensor.dtype} of shape {tensor.shape}{where}, "
            f"not {array.dtype} of shape {array.shape}"
        )


def _to_tvm(array: np.ndarray, device: tvm.runtime.Device) -> tvm.runtime.Tensor:
    """Share an array's memory with TVM where it is aligned and contiguous, else copy it."""
    if not shares_memory(device):
        return tvm.runtime.tensor(array, device)
    if array.size and array.flags.c_contiguous and array.flags.writeable:
        # Fails where the memory is not aligned to 64 bytes.
        with suppress(RuntimeError, BufferError):
            return tvm.runtime.from_dlpack(array)
    return tvm.runtime.tensor(array)
