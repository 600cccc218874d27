"""The table of estimators, and the choice of one: a model of ours, or another project's file.

A new estimator is a file in this folder and a row in `ESTIMATORS`. Importing this module imports
no estimator and no NumPy, because the help of ``wsshm eval`` and ``wsshm bench`` prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.contract import KEY, ModelSpec
from engines.errors import BadData, UsageError
from engines.models import resolve_model

if TYPE_CHECKING:
    import onnxruntime as ort

    from engines.measure.estimators.estimator import Estimator

Shapes = Mapping[str, list[Any]]  # by the names of a file's inputs or outputs, in order
Fits = Callable[[Shapes, Shapes], bool]  # of a file's inputs and outputs


@dataclass(frozen=True)
class Entry:
    """A row of the table of estimators.

    Attributes:
        name: in help and error messages; without `fits`, also what the user types.
        constructor: ``module:name`` in this folder. Called with a loaded file and ``settle``, as
            `engines.measure.estimators.peer.StillPeer` is; if `fits` is None, with the options that
            the user typed after the name and a colon.
        fits: tells a file by its inputs and outputs; None for a method that needs no file.
        options: of a method, for help.
    """

    name: str
    constructor: str
    fits: Fits | None = None
    options: str = ""

    def make(self, *args: Any, **options: Any) -> Estimator:
        """Import the constructor and call it."""
        module, _, name = self.constructor.partition(":")
        make: Any = getattr(import_module(f"engines.measure.estimators.{module}"), name)
        return make(*args, **options)


def _is_rvm(inputs: Shapes, outputs: Shapes) -> bool:
    states = range(1, 5)
    expected = {"pha", *(f"r{i}o" for i in states)}
    return [*inputs] == ["src", *(f"r{i}i" for i in states)] and expected <= {*outputs}


def _has_shapes(input: list[int], output: list[int]) -> Fits:
    """Return a test for files with one input and one output of these shapes."""
    return lambda inputs, outputs: ([*inputs.values()], [*outputs.values()]) == ([input], [output])


def _is_isnet(inputs: Shapes, outputs: Shapes) -> bool:
    # Six maps and six tensors of features, which tell it from other networks of this input.
    maps = [[1, 1, 1024, 1024]] * 6
    return [*inputs.values()] == [[1, 3, 1024, 1024]] and [*outputs.values()][:6] == maps


ESTIMATORS = (
    Entry("RVM", "rvm:Rvm", _is_rvm),
    Entry(
        "MediaPipe selfie",
        "mediapipe_selfie:MediapipeSelfie",
        _has_shapes([1, 256, 256, 3], [1, 256, 256, 1]),
    ),
    Entry(
        "Google Meet",
        "google_meet:GoogleMeet",
        _has_shapes([1, 144, 256, 3], [1, 144, 256, 2]),
    ),
    Entry("SINet", "sinet:Sinet", _has_shapes([1, 3, 320, 320], [1, 2, 320, 320])),
    Entry("ISNet", "isnet:Isnet", _is_isnet),
    Entry("kmeans", "clusters:kmeans", options="k=N,lab,xy,oracle"),
    Entry("gmm", "clusters:gmm", options="k=N,lab,xy,oracle"),
)


def describe_files() -> str:
    """Return the kinds of ONNX files that `open_estimator` opens, as a phrase for help."""
    return f"an ONNX file of wsshm, {_peer_names()}"


def describe_estimators() -> str:
    """Return everything that `open_estimator` opens but shipped models, as a phrase for help."""
    methods = [
        f"{e.name}[:{e.options}]" if e.options else e.name for e in ESTIMATORS if e.fits is None
    ]
    return ", ".join([describe_files(), *methods])


def _peer_names() -> str:
    *names, last = (e.name for e in ESTIMATORS if e.fits)
    return f"{', '.join(names)} or {last}"


def open_estimator(
    model: str | Path, name: str = "", size: int | None = None, as_run: bool = False
) -> Estimator:
    """Open a method that needs no file, a shipped model, or an ONNX file of a known kind.

    Args:
        model: the name of a method, with its options after a colon, or of a shipped model, or the
            path of a file.
        name: of a model of ours in results; its own if empty. Other estimators have a fixed name.
        size: shorter edge of what a model of ours sees, in pixels; None for the model's own. Other
            estimators have a fixed size.
        as_run: post-process the alpha of a model of ours as ``wsshm run`` does.

    Raises:
        CannotOpen, BadData: the file, or its kind is not known.
        UsageError: an option of a method is not known, or `as_run` for a model with a trimap.
        Unavailable: a package that a method needs is missing.
    """
    method, _, options = str(model).partition(":")
    for entry in ESTIMATORS:
        if entry.fits is None and method == entry.name:
            return entry.make(options)
    from engines.onnx_engine import open_session

    model_name, path = resolve_model(str(model))
    session = open_session(path)
    metadata = session.get_modelmeta().custom_metadata_map
    if KEY in metadata:
        if ModelSpec.from_metadata(metadata, path).trimap:
            from engines.measure.estimators.with_trimap import TrimapModel

            if as_run:
                raise UsageError(
                    f"--as-run: {model} needs trimaps, and wsshm run has none", "leave it out"
                )
            return TrimapModel(session, path, name or model_name, size)
        from engines.engine import as_shipped, open_engine
        from engines.measure.estimators.ours import OurModel, OurModelAsRun

        engine = as_shipped(open_engine(path, "cpu"), str(model))
        return (OurModelAsRun if as_run else OurModel)(engine, name or model_name, size)
    return open_peer(session, path)


def open_peer(session: ort.InferenceSession, path: Path, settle: bool = True) -> Estimator:
    """Return the estimator that a loaded file of another project is for.

    Args:
        path: for the error message.
        settle: let an estimator with memory see the first image of a sequence several times; not
            where frames are timed.

    Raises:
        BadData: the inputs and outputs are of no known kind.
    """
    inputs = {n.name: n.shape for n in session.get_inputs()}
    outputs = {n.name: n.shape for n in session.get_outputs()}
    for entry in ESTIMATORS:
        if entry.fits and entry.fits(inputs, outputs):
            return entry.make(session, settle=settle)
    raise BadData(
        f"{path}: neither a model of wsshm nor one of {_peer_names()} "
        f"(its inputs are {inputs}, its outputs {outputs})",
        "docs/measuring.md shows how to add another project's model",
    )
