"""Errors whose message is for the user: one line that says what is wrong and what to do.

Scripts and the command line print ``error: <message>`` and exit with status 2 for these; any other
exception is a defect of the program and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Something that the user gave (a file, a name, a prompt) cannot be used as it is."""


class UnknownNameError(UserError):
    """A preset, component, target or other name that does not exist."""


class CheckpointError(UserError):
    """A checkpoint that is missing, unreadable or does not fit the model."""


class BundleError(UserError):
    """A bundle that is missing, incomplete, altered or of an unknown format."""


class ImageError(UserError):
    """A picture that cannot be read or whose size or type is not supported."""


class PromptError(UserError):
    """A text, box or point prompt that cannot be used."""


class MaskError(UserError):
    """A mask that is empty, tiny, or does not belong to the picture."""


class PointmapError(UserError):
    """A pointmap that cannot be read or does not belong to the picture."""


class ReconstructionError(UserError):
    """A picture and mask from which the model builds nothing."""


class VoxelError(UserError):
    """Voxels that are none, given twice, or outside their grid."""
