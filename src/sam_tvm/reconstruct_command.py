"""`sam-tvm reconstruct`: a picture and a mask in, Gaussians, a mesh, a pose and a preview out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm.console import Parser
from sam_tvm.runtime.errors import BundleError, PromptError, ReconstructionError, UserError
from sam_tvm.runtime.image import open_image, to_rgb_array
from sam_tvm.runtime.results import check_output_folder

DEFAULT_BUNDLE = Path("artifacts/tiny/bundles/sam3d-llvm-float32")
DEFAULT_SEGMENTER = Path("artifacts/tiny/bundles/sam3-llvm-float32")
DECODERS = {32: "gs_decoder", 4: "gs_decoder_4"}


def main(arguments: Sequence[str]) -> int:
    """Run the command; raises UserError for anything that cannot be used."""
    options = _parser().parse_args(arguments)
    _check(options)
    bundle = _bundle(options.bundle, DEFAULT_BUNDLE, "--bundle")
    check_output_folder(options.out)
    image = to_rgb_array(open_image(options.photo, options.upright))
    pointmap = _pointmap(options.pointmap, image)
    mask = _mask(options, image)

    from sam_tvm.runtime.reconstruction.results import write_reconstruction
    from sam_tvm.runtime.reconstructor import Reconstructor

    reconstructor = Reconstructor.load(bundle, options.threads)
    result = reconstructor.reconstruct(
        image,
        mask,
        pointmap,
        seed=options.seed,
        steps=options.steps,
        latent_steps=options.latent_steps or options.steps,
        distilled=options.distilled,
        decoder=DECODERS[options.gaussians],
        mesh=not options.no_mesh,
        progress=True,
    )
    write_reconstruction(options.out, result, _header(options, reconstructor.bundle.manifest.raw))
    faces = "" if result.mesh is None else f", {len(result.mesh.faces)} triangles"
    print(f"{len(result.coords)} voxels, {len(result.gaussians)} Gaussians{faces}")
    print(f"results: {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="sam-tvm reconstruct",
        description="Make a 3D object of what a mask, or a text, marks in a picture.",
    )
    parser.add_argument("photo", type=Path, help="the picture")
    parser.add_argument("--mask", type=Path, help="a picture that is black outside of the object")
    parser.add_argument("--text", help="or say what it is: SAM3's best mask for it is taken")
    parser.add_argument(
        "--pointmap",
        type=Path,
        metavar="FILE.npy",
        help="(height, width, 3): the point that each pixel shows, x left, y up, z away; "
        "without one MoGe, where installed, estimates it",
    )
    parser.add_argument("--bundle", type=Path, help=f"default: {DEFAULT_BUNDLE}")
    parser.add_argument(
        "--segmenter", type=Path, help=f"SAM3's bundle, for --text; default: {DEFAULT_SEGMENTER}"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument("--steps", type=int, help="of both samplers (default: the bundle's, 25)")
    parser.add_argument("--latent-steps", type=int, help="of the second one, if others")
    parser.add_argument(
        "--distilled", action="store_true", help="the shortcut mode, good with --steps 1 to 4"
    )
    parser.add_argument(
        "--gaussians", type=int, choices=DECODERS, default=32, help="of each voxel (default 32)"
    )
    parser.add_argument("--no-mesh", action="store_true", help="make the Gaussians alone")
    parser.add_argument(
        "--upright", action="store_true", help="turn the picture as its EXIF orientation says"
    )
    parser.add_argument("--threads", type=int, help="at most so many (default: all cores)")
    return parser


def _check(options: argparse.Namespace) -> None:
    if (options.mask is None) == (options.text is None):
        raise PromptError("say which object: give either --mask or --text")
    for name in ("steps", "latent_steps", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
    if options.seed < 0:
        raise UserError(f"--seed must not be negative, not {options.seed}")


def _bundle(given: Path | None, default: Path, option: str) -> Path:
    if given is None and not default.is_dir():
        raise BundleError(
            f"no bundle at {default}: name one with {option}, or make it with sam-tvm port"
        )
    return given or default


def _pointmap(path: Path | None, image: np.ndarray) -> np.ndarray:
    """Read the pointmap, or estimate it."""
    if path is not None:
        from sam_tvm.runtime.reconstruction.pointmap import read_pointmap

        return read_pointmap(path)
    from sam_tvm.moge import moge_pointmap

    return moge_pointmap(image)


def _mask(options: argparse.Namespace, image: np.ndarray) -> np.ndarray:
    """Read the mask, or find it."""
    if options.mask is not None:
        from sam_tvm.runtime.reconstruction.preprocess import to_mask

        return to_mask(open_image(options.mask, options.upright), *image.shape[:2])
    from sam_tvm.runtime import Segmenter

    folder = _bundle(options.segmenter, DEFAULT_SEGMENTER, "--segmenter")
    segmenter = Segmenter.load(folder, options.threads)
    state = segmenter.set_text_prompt(options.text, segmenter.set_image(image))
    if not len(state["scores"]):
        raise ReconstructionError(
            f'nothing in {options.photo} is a "{options.text}": say it otherwise, or give --mask'
        )
    return state["masks"][int(np.argmax(state["scores"])), 0]


def _header(options: argparse.Namespace, manifest: dict[str, Any]) -> dict[str, Any]:
    source = {"mask": str(options.mask)} if options.mask else {"text": options.text}
    names = ("model", "preset", "target", "precision", "weights")
    return {
        "picture": {"file": str(options.photo), **source},
        "bundle": {name: manifest.get(name) for name in names},
    }
