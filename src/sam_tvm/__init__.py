"""SAM3 and SAM-3D-Objects on Apache TVM.

Importing the package loads neither torch nor TVM: `sam_tvm.runtime` must stay usable where only
the base dependencies are installed.
"""

__version__ = "0.1.0"
