"""The command `sam-tvm`.

Each subcommand imports what it needs when it is run, so that `segment` and `info` work where
PyTorch is not installed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sam_tvm import __version__
from sam_tvm.console import Parser
from sam_tvm.console import run as run_command
from sam_tvm.runtime.errors import UserError


@dataclass(frozen=True)
class Command:
    """A subcommand: `run` gets its arguments and returns the exit status.

    One that only runs `bundles` does without TVM's compiler.
    """

    help: str
    run: Callable[[Sequence[str]], int]
    bundles: bool = False


@contextmanager
def _porting(name: str) -> Iterator[None]:
    """Say what to install where an import of the subcommand `name` fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sam_tvm"):
            raise
        raise UserError(
            f"sam-tvm {name} needs the package {error.name}: "
            "install what ports a model with pip install 'sam-tvm[port]'"
        ) from error


def _stage(name: str, description: str, weights: bool, bundles: bool = False) -> Command:
    """Declare a subcommand that runs a stage of the pipeline, as its script does."""

    def run_stage(arguments: Sequence[str]) -> int:
        with _porting(name):
            from sam_tvm.pipeline import commands
            from sam_tvm.pipeline.options import (
                add_archive_option,
                add_job_options,
                job_from_options,
            )
        parser = Parser(prog=f"sam-tvm {name}", description=description)
        add_job_options(parser, weights=weights, target=True, stored=bundles)
        if bundles:
            add_archive_option(parser)
        status: int = getattr(commands, name)(job_from_options(parser.parse_args(arguments)))
        return status

    return Command(description, run_stage)


def _segment(arguments: Sequence[str]) -> int:
    from sam_tvm.segment_command import main as segment

    return segment(arguments)


def _reconstruct(arguments: Sequence[str]) -> int:
    from sam_tvm.reconstruct_command import main as reconstruct

    return reconstruct(arguments)


def _benchmark(arguments: Sequence[str]) -> int:
    with _porting("benchmark"):
        from sam_tvm.benchmark.command import main as benchmark

    return benchmark(arguments, prog="sam-tvm benchmark")


def _info(arguments: Sequence[str]) -> int:
    from sam_tvm.runtime.info import describe
    from sam_tvm.runtime.manifest import read_manifest, verify_files

    parser = Parser(prog="sam-tvm info", description=COMMANDS["info"].help)
    parser.add_argument("bundle", help="the bundle's folder")
    options = parser.parse_args(arguments)
    manifest = read_manifest(options.bundle)
    verify_files(manifest)
    print(describe(manifest))
    return 0


COMMANDS = {
    "port": _stage(
        "port", "Export, import, build, bundle and verify: from checkpoint to bundle.", True
    ),
    "verify": _stage("verify", "Compare every component's library with PyTorch.", False),
    "bundle": _stage("bundle", "Put library, weights and tokenizer into a bundle.", False, True),
    "segment": Command("Segment pictures with a bundle; needs no PyTorch.", _segment, True),
    "reconstruct": Command(
        "Make a 3D object of what a mask marks, with a bundle; needs no PyTorch.",
        _reconstruct,
        True,
    ),
    "benchmark": Command(
        "Time every component and the end-to-end run in TVM and in other engines.", _benchmark
    ),
    "info": Command("Verify a bundle and say what it holds.", _info),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `sam-tvm` and return its exit status: 0, 1 (a component failed) or 2 (bad input)."""
    if arguments is None:
        return run_command(lambda: _main(sys.argv[1:], own_process=True))
    return run_command(lambda: _main(arguments))


def _leave_out_compiler() -> None:
    """Let TVM be loaded without its compiler, a second faster and 110 MiB smaller.

    Elsewhere than on Linux the compiler is what tells which instructions the CPU has.
    """
    if sys.platform == "linux" and "tvm" not in sys.modules:
        os.environ.setdefault("TVM_USE_RUNTIME_LIB", "1")


def _main(arguments: Sequence[str], own_process: bool = False) -> int:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
    parser = Parser(
        prog="sam-tvm",
        description="SAM3 and SAM-3D-Objects on Apache TVM.",
        epilog=f"commands:\n{listing}\n\nsam-tvm COMMAND --help shows a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sam-tvm {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    command = COMMANDS[options.command]
    if own_process and command.bundles:
        _leave_out_compiler()
    return command.run(options.arguments)


if __name__ == "__main__":
    raise SystemExit(main())
