import subprocess
import sys
import textwrap


def test_reference_process_holds_no_patch_and_refuses_one():
    """In a process of its own, as this one may have imported everything."""
    script = textwrap.dedent(
        """
        import sys
        from sam_tvm.pipeline import end_to_end_worker
        from sam_tvm.pipeline.reference_worker import assert_unpatched

        assert_unpatched()
        from sam_tvm.patches.environment import reference_environment
        with reference_environment():
            import sam3.model.vitdet
        assert_unpatched()
        import sam_tvm.patches.model
        try:
            assert_unpatched()
        except RuntimeError as error:
            print(error)
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "sam_tvm.patches.model is imported" in result.stdout
