"""Which contractions are done in tiles, and with which operands."""

from __future__ import annotations

from tvm import sym
from tvm.ir import Expr

from sam_tvm.kernels.amx.blocking import MOST_ROWS
from sam_tvm.kernels.amx.instructions import BLOCK, PANEL, TILE
from sam_tvm.kernels.amx.rows import Terms
from sam_tvm.kernels.amx.weights import PassPanels
from sam_tvm.kernels.expressions import constant_value, product
from sam_tvm.kernels.layout import constant_stride
from sam_tvm.kernels.products.contraction import Contraction

_FEWEST_ROWS = {True: 8, False: 16}  # by whether both operands are bfloat16
FEW_ROWS = 256  # for which a panel is cut where it is used
FEWEST_TERMS = 256  # of which digits err no more than float32, and are much faster than parts


def takes(contraction: Contraction) -> bool:
    """Tell whether tiles are the faster way: the vector unit needs no operands cut into parts."""
    step = constant_stride(contraction.y.indices[0], contraction.reduced[-1])
    if step != 1 + contraction.pairs or contraction.columns:
        return False
    if contraction.panels is None:
        return not contraction.pairs and _takes_matrix(contraction)
    if contraction.panels.width != PANEL or Terms.of(contraction).count < TILE:
        return False
    height = constant_value(_rows(contraction))
    return height is None or height >= _FEWEST_ROWS[contraction.pairs]


def _takes_matrix(contraction: Contraction) -> bool:
    """Tell whether X, which was not packed, is cut as often as few rows' weight is: once."""
    row = contraction.row
    height = None if row is None else constant_value(row.extent)
    if height is None or not BLOCK <= height <= MOST_ROWS:
        return False
    if constant_value(contraction.reduced[-1].extent) is None:
        return False
    terms = Terms.of(contraction)
    return PassPanels.takes(contraction, terms) and PassPanels.takes_matrix(contraction, terms)


def few_rows(contraction: Contraction) -> bool | Expr:
    """Return whether there are too few rows to cut X for all tasks, or what tells at run time."""
    if contraction.panels is None:
        return True
    if not PassPanels.takes(contraction, Terms.of(contraction)):
        return False
    rows = _rows(contraction)
    known = constant_value(rows)
    return rows < FEW_ROWS if known is None else known < FEW_ROWS


def _rows(contraction: Contraction) -> Expr:
    rows = [axis.extent for axis in contraction.outer]
    rows += [contraction.row.extent] if contraction.row is not None else []
    return sym.Analyzer().simplify(product(rows))


def takes_digits(contraction: Contraction, few: bool) -> bool:
    """Tell whether both operands are float32 and enough to be cut into digits.

    Where X is cut for each task, its columns would be compared each time; taps share rows of Y.
    """
    form = contraction.panels
    if few or form is None or form.pairs or form.int8:
        return False
    return len(contraction.reduced) == 1 and Terms.of(contraction).count >= FEWEST_TERMS
