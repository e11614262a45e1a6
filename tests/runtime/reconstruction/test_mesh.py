"""The mesh's file holds what the reference's would with vertex colours."""

import numpy as np
import pytest
import torch
import trimesh

from sam_tvm.runtime.errors import ReconstructionError
from sam_tvm.runtime.reconstruction.mesh import OBJECT_TO_GLB, write_glb


@pytest.fixture
def ball(rng):
    """A mesh with two vertices in one place, one that no face uses, and its colours."""
    made = trimesh.creation.icosphere(subdivisions=2)
    vertices = np.concatenate([made.vertices, made.vertices[:1], [[0.0, 0.0, 0.4]]])
    vertices = (vertices * 0.4).astype(np.float32)
    return vertices, made.faces.astype(np.int64), rng.random(vertices.shape, np.float32)


def read(path):
    return trimesh.load(path, process=False, force="mesh")


def test_the_file_equals_the_reference_s(reference, ball, tmp_path):
    from types import SimpleNamespace
    from typing import Union

    to_glb = reference.take(
        "model/backbone/tdfy_dit/utils/postprocessing_utils.py",
        "to_glb",
        np=np,
        trimesh=trimesh,
        Union=Union,
        Strivec=object,
        Gaussian=object,
        MeshExtractResult=object,
    )["to_glb"]
    vertices, faces, colours = ball
    extracted = SimpleNamespace(
        vertices=torch.from_numpy(vertices),
        faces=torch.from_numpy(faces),
        vertex_attrs=torch.from_numpy(np.c_[colours, colours]),
    )
    theirs = to_glb(
        None,
        extracted,
        with_mesh_postprocess=False,
        with_texture_baking=False,
        use_vertex_color=True,
        verbose=False,
    )
    theirs.export(tmp_path / "theirs.glb")
    write_glb(tmp_path / "ours.glb", vertices, faces, colours)
    expected, actual = read(tmp_path / "theirs.glb"), read(tmp_path / "ours.glb")
    np.testing.assert_array_equal(actual.vertices, expected.vertices)
    np.testing.assert_array_equal(actual.faces, expected.faces)
    difference = actual.visual.vertex_colors.astype(int) - expected.visual.vertex_colors
    assert abs(difference).max() <= 1


def test_nothing_is_merged_dropped_or_reordered(ball, tmp_path):
    vertices, faces, colours = ball
    write_glb(tmp_path / "mesh.glb", vertices, faces, colours)
    mesh = read(tmp_path / "mesh.glb")
    np.testing.assert_array_equal(mesh.vertices.astype(np.float32), vertices @ OBJECT_TO_GLB.T)
    np.testing.assert_array_equal(mesh.faces, faces)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], np.rint(colours * 255))
    assert (mesh.visual.vertex_colors[:, 3] == 255).all()


def test_up_is_y_in_the_file():
    np.testing.assert_array_equal(OBJECT_TO_GLB @ [0, 0, 1], [0, 1, 0])
    assert np.linalg.det(OBJECT_TO_GLB) == pytest.approx(1)


def test_an_empty_mesh_is_an_error(ball, tmp_path):
    vertices, faces, colours = ball
    with pytest.raises(ReconstructionError, match="no surface"):
        write_glb(tmp_path / "mesh.glb", vertices, faces[:0], colours)
    assert not (tmp_path / "mesh.glb").exists()


def test_shapes_that_do_not_fit_are_refused(ball, tmp_path):
    vertices, faces, colours = ball
    with pytest.raises(ValueError, match="are not of shape"):
        write_glb(tmp_path / "mesh.glb", vertices, faces, colours[1:])
