"""The symptoms of a process in which no patch was applied."""

import json
import subprocess
import sys

import pytest

FRESH = """
import importlib, json, sys
from sam_tvm.patches.environment import torchvision_operators

def message(action):
    try:
        action()
    except Exception as error:
        return str(error)

def declare():
    torchvision_operators.declare()
    return torch.ops.torchvision.roi_align

import torch
json.dump({
    "import torchvision": message(lambda: importlib.import_module("torchvision")),
    "roi_align": message(declare),
    "import sam3": message(lambda: importlib.import_module("sam3")),
    "decord": "decord" in sys.modules,
}, sys.stdout)
"""


@pytest.fixture(scope="session")
def fresh_process() -> dict[str, str]:
    """Messages of what fails in a new process, by what was tried."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FRESH], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)
