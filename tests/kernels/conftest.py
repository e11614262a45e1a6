"""Makes the helper module of this folder importable, however pytest is started."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
