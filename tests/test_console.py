"""Exit statuses and one-line errors."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from sam_tvm.console import Parser, run
from sam_tvm.runtime.errors import BundleError, UserError


def raising(error: BaseException):
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize("status", [0, 1])
def test_the_commands_own_status_is_passed_on(status, capsys):
    assert run(lambda: status) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("wrong\n  here"), "error: wrong here"),
        (BundleError("no bundle"), "error: no bundle"),
        (KeyboardInterrupt(), "interrupted"),
        (MemoryError(), "error: not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: no space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "error: permission denied: /x"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_status_2(error, line, capsys):
    assert run(raising(error)) == 2
    assert capsys.readouterr() == ("", line + "\n")


@pytest.mark.parametrize("error", [ValueError("a defect"), FileNotFoundError(errno.ENOENT, "gone")])
def test_defects_keep_their_traceback(error):
    with pytest.raises(type(error)):
        run(raising(error))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("lines", [1, 100_000])  # found out at the end, or in the midst
def test_a_reader_that_left_ends_the_command_quietly(stream, lines):
    code = (
        "import sys; from sam_tvm.console import run\n"
        "def main():\n"
        f"    for line in range({lines}): print(line, file=sys.{stream})\n"
        "    return 0\n"
        "sys.exit(run(main))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    done = subprocess.run([sys.executable, "-c", code], **streams)
    os.close(writing)
    assert done.returncode == 128 + signal.SIGPIPE
    assert not done.stdout
    assert not done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["info", "--help"]])
def test_help_into_a_closed_pipe_is_quiet(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "sam_tvm.cli", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.stderr == b""


def test_wrong_arguments_are_one_line(capsys):
    assert run(lambda: Parser(prog="tool").parse_args(["--what"]) and 0) == 2
    message = capsys.readouterr().err
    assert message == "error: unrecognized arguments: --what (see tool --help)\n"
