"""Exit statuses and one-line errors."""

import errno

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


def test_wrong_arguments_are_one_line(capsys):
    assert run(lambda: Parser(prog="tool").parse_args(["--what"]) and 0) == 2
    message = capsys.readouterr().err
    assert message == "error: unrecognized arguments: --what (see tool --help)\n"
