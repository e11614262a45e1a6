"""Components and the end-to-end run of the engines that read ONNX."""

from __future__ import annotations

from collections.abc import Callable

from sam_tvm.benchmark.workload import (
    END_TO_END,
    Model,
    OnnxFiles,
    Request,
    Workload,
    component_workload,
    end_to_end_workload,
)


def onnx_workload(request: Request, open_model: Callable[[OnnxFiles], Model]) -> Workload:
    """What the request asks for, its models opened by `open_model`.

    The end-to-end run goes through `Segmenter`, whose module imports TVM: about 0.1 GB of the peak
    memory there is not the engine's.
    """
    if request.name != END_TO_END:
        return component_workload(open_model(request.models[request.name]), request)

    import sys

    sys.modules["torch"] = None  # TVM would import it
    from sam_tvm.benchmark.graph_bundle import GraphBundle
    from sam_tvm.runtime import Segmenter

    models = {name: open_model(files) for name, files in request.models.items()}
    segmenter = Segmenter(GraphBundle(models, request.end_to_end))
    return end_to_end_workload(segmenter, request)
