"""Save and load circuits and fitted estimators, bit-identically and without pickle.

This module imports estimators; the file format, which checkpoints also use, is in
`spikelca.modelfile`.

A model file contains numbers and strings and no code. Files are untrusted and validated on reading:
an invalid file raises `ModelFileError`. A model with a function as waveform or dictionary (except
``numpy.eye`` and ``numpy.identity``) cannot be saved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelca.circuit import Circuit
from spikelca.modelfile import (
    ArrayStore,
    ModelFileError,
    circuit_from_json,
    circuit_to_json,
    from_json,
    model_file_errors,
    read_archive,
    rng_from_json,
    rng_to_json,
    to_json,
    unpack,
    write_archive,
)
from spikelca.utils.validation import check_matrix, check_positive

if TYPE_CHECKING:
    from spikelca.estimators import LCACoder, LinkedLCA, OrdinalBlockClassifier

    Model = Circuit | LinkedLCA | LCACoder | OrdinalBlockClassifier

__all__ = ["ModelFileError", "load", "save"]

_NAMED_DICTIONARIES: Mapping[str, Any] = {"numpy.eye": np.eye, "numpy.identity": np.identity}
"""Functions that may be the dictionary of a saved `LCACoder`, by their name in the file."""

_FITTED_ATTRIBUTES = ("n_iter_", "n_steps_", "n_redrawn_")
_HISTORY_ATTRIBUTES = ("errors_", "largest_norms_")
_FEATURE_ATTRIBUTES = ("n_features_in_", "feature_names_in_")
ROW_SCALINGS = ("unit norm", "none")
"""Values of the attribute ``row_scaling_``: what the command line does with rows of files."""


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Save a circuit or a fitted estimator.

    The file is replaced atomically: after a crash, a full disk or a kill, it is the old file or
    the new one.

    Parameters
    ----------
    model : Circuit, LinkedLCA, LCACoder or OrdinalBlockClassifier
        Model to save.
    path : path
        File to write, with any suffix; its folder must exist.

    Raises
    ------
    TypeError
        If the model is of another class, or contains a function, an engine object, or a driver of
        a custom class.
    NotFittedError
        If a `LinkedLCA` or an `OrdinalBlockClassifier` is not fitted.
    ValueError
        If the model is too large for a model file.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from spikelca import Circuit, Dictionary, RateNeuron, SoftThreshold, load, save
    >>> circuit = Circuit(RateNeuron(), SoftThreshold(0.1), [Dictionary("x", np.eye(2))])
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "circuit.spikelca"
    >>> save(circuit, path)
    >>> load(path).dictionary("x") == circuit.dictionary("x")
    True
    """
    kind = type(model).__name__
    if kind not in _KINDS or type(model) is not _class_by_name(kind):
        raise TypeError(
            f"`model` must be one of {list(_KINDS)}, got {type(model).__name__}. Of a pipeline, "
            "save the step."
        )
    arrays = ArrayStore()
    data = _KINDS[kind][0](model, arrays)
    write_archive(path, {"kind": kind, "model": data}, arrays.arrays)


def load(path: str | os.PathLike[str]) -> Model:
    """Load a circuit or an estimator that `save` has written, bit-identically.

    Parameters
    ----------
    path : path
        File to read.

    Returns
    -------
    Circuit, LinkedLCA, LCACoder or OrdinalBlockClassifier

    Raises
    ------
    ModelFileError
        If the file is not a complete, unaltered model file.
    OSError
        If the file does not exist or cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from spikelca import LCACoder, load, save
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "coder.spikelca"
    >>> save(LCACoder(np.eye(2), threshold=0.2), path)
    >>> load(path).threshold
    0.2
    """
    content, members = read_archive(path)
    with model_file_errors(path):
        arrays = ArrayStore(members)
        kind, data = unpack(content, "model", "kind", "model")
        if kind == "checkpoint":
            raise ValueError(
                "The file must be a model, got a checkpoint of a training run. Resume with "
                "fit(X, y, checkpoint=path, resume=True), then save the estimator."
            )
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(f"The model must be one of {list(_KINDS)}, got {str(kind)[:40]!r}.")
        model = _KINDS[kind][1](data, arrays)
        arrays.check_all_used()
        return model


def _class_by_name(kind: str) -> type:
    # scikit-learn is slow to import and not required to save a circuit.
    if kind == "Circuit":
        return Circuit
    from spikelca import estimators

    estimator: type = getattr(estimators, kind)
    return estimator


# -------------------------------------------------------------------------------- kinds of model


def _serialise_circuit(circuit: Circuit, arrays: ArrayStore) -> Any:
    return circuit_to_json(circuit, "circuit", arrays)


def _deserialise_circuit(data: Any, arrays: ArrayStore) -> Circuit:
    return circuit_from_json(data, "circuit", arrays)


def _serialise_linked(model: LinkedLCA, arrays: ArrayStore) -> dict[str, Any]:
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(model, "circuit_")
    names = (*_FITTED_ATTRIBUTES, *_FEATURE_ATTRIBUTES, "classes_", "row_scaling_",
             *_HISTORY_ATTRIBUTES)  # fmt: skip
    # The error curve is empty after an interrupt in the first batch; a file has no empty arrays.
    attributes = {n: getattr(model, n) for n in names if np.size(getattr(model, n, ()))}
    attributes |= _get_output(model)
    return {
        "params": to_json(model.get_params(deep=False), "params", arrays),
        "circuit": circuit_to_json(model.circuit_, "circuit", arrays),
        "attributes": to_json(attributes, "attributes", arrays),
        "rng": rng_to_json(model._rng.bit_generator.state),
    }


def _deserialise_linked(data: Any, arrays: ArrayStore) -> LinkedLCA:
    from spikelca.estimators import LinkedLCA

    params, circuit_data, attributes_data, rng = unpack(
        data, "model", "params", "circuit", "attributes", "rng"
    )
    model = LinkedLCA(**_check_params(LinkedLCA, from_json(params, "params", arrays)))
    circuit = circuit_from_json(circuit_data, "circuit", arrays)
    attributes = from_json(attributes_data, "attributes", arrays)
    _set_output(model, attributes)
    _check_attributes(
        attributes,
        (*_FITTED_ATTRIBUTES, "n_features_in_"),
        ("feature_names_in_", "classes_", "row_scaling_", *_HISTORY_ATTRIBUTES),
    )
    _check_fitted(model, circuit, attributes)
    generator = np.random.default_rng()
    generator.bit_generator.state = rng_from_json(rng, "rng")
    counts = (attributes[name] for name in _FITTED_ATTRIBUTES)
    model._set_fitted(circuit, attributes.get("classes_"), generator, *counts)
    if "errors_" in attributes:
        model.errors_ = _check_errors(attributes["errors_"], model)
    _set_largest_norms(model, attributes, circuit.widths)
    if "row_scaling_" in attributes:
        model.row_scaling_ = attributes["row_scaling_"]
    return _set_feature_names(model, attributes)


def _check_fitted(model: LinkedLCA, circuit: Circuit, attributes: Mapping[str, Any]) -> None:
    """Check that the circuit has the sizes given by parameters and attributes."""
    from spikelca.estimators.samples import default_components

    n_features, classes = attributes["n_features_in_"], attributes.get("classes_")
    widths = circuit.widths
    modalities = widths if model.modalities is None else dict(model.modalities)
    lengths = {n: len(w) if isinstance(w, (list, tuple)) else w for n, w in modalities.items()}
    n_classes = getattr(model.driver, "n_classes", None)
    sizes = (circuit.n_neurons, list(widths.items()), sum(widths.values()))
    n_neurons = model.n_components or default_components(n_features, model.driver)
    expected = (n_neurons, list(lengths.items()), n_features)
    if sizes != expected:
        raise ValueError(
            "The circuit must have the neurons, modalities and features of the estimator, "
            f"{str(expected)[:120]}, got {str(sizes)[:120]}."
        )
    if attributes.get("row_scaling_", "none") not in ROW_SCALINGS:
        raise ValueError(f"row_scaling_ must be one of {list(ROW_SCALINGS)}.")
    if classes is not None and (
        not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) != n_classes
    ):
        raise ValueError(f"The classes must be the {n_classes} classes of the driver.")


def _serialise_coder(model: LCACoder, arrays: ArrayStore) -> dict[str, Any]:
    params = model.get_params(deep=False)
    dictionary = params.pop("dictionary")
    if callable(dictionary):
        names = [name for name, function in _NAMED_DICTIONARIES.items() if function is dictionary]
        if not names:
            raise TypeError(
                f"`dictionary` must be an array or one of {list(_NAMED_DICTIONARIES)}, got the "
                f"function {dictionary!r}, which a model file cannot hold. Call it, and pass the "
                "array."
            )
        dictionary_data: Any = names[0]
    else:
        dictionary_data = to_json(np.asarray(dictionary), "dictionary", arrays)
    names = [*_FEATURE_ATTRIBUTES, "n_components_", "largest_norms_", "threshold_"]
    attributes = {name: getattr(model, name) for name in names if hasattr(model, name)}
    attributes |= _get_output(model)
    return {
        "dictionary": dictionary_data,
        "params": to_json(params, "params", arrays),
        "attributes": to_json(attributes, "attributes", arrays),
    }


def _deserialise_coder(data: Any, arrays: ArrayStore) -> LCACoder:
    from spikelca.estimators import LCACoder

    dictionary, params, attributes_data = unpack(
        data, "model", "dictionary", "params", "attributes"
    )
    is_named = isinstance(dictionary, str) and dictionary in _NAMED_DICTIONARIES
    atoms = (
        _NAMED_DICTIONARIES[dictionary] if is_named else from_json(dictionary, "dictionary", arrays)
    )
    if not is_named and (not isinstance(atoms, np.ndarray) or atoms.ndim != 2):
        raise ValueError(f"The dictionary must be a 2D array, got {str(atoms)[:80]}.")
    model = LCACoder(atoms, **_check_params(LCACoder, from_json(params, "params", arrays)))
    attributes = from_json(attributes_data, "attributes", arrays)
    _set_output(model, attributes)
    fitted = ("n_features_in_", "n_components_") if attributes else ()
    optional = ("feature_names_in_", "largest_norms_", "threshold_") if attributes else ()
    _check_attributes(attributes, fitted, optional)
    _set_largest_norms(model, attributes, ("x",))
    sizes = tuple(attributes[name] for name in reversed(fitted))
    if attributes and not is_named and sizes != atoms.shape:
        raise ValueError(f"The dictionary must have the shape {sizes}, got {atoms.shape}.")
    for name in fitted:
        setattr(model, name, attributes[name])
    if "threshold_" in attributes:
        model._set_chosen(check_positive(attributes["threshold_"], "threshold_"))
    return _set_feature_names(model, attributes)


def _get_output(model: Any) -> dict[str, str]:
    """Return the container that `set_output` has chosen, if it was called."""
    output = getattr(model, "_sklearn_output_config", {}).get("transform")
    return {} if output is None else {"set_output": str(output)}


def _set_output(model: Any, attributes: Any) -> None:
    """Remove the container of `set_output` from the attributes and apply it to the model."""
    if not isinstance(attributes, dict) or "set_output" not in attributes:
        return
    output = attributes.pop("set_output")
    if output not in ("default", "pandas", "polars"):
        raise ValueError(f"set_output must be a container of scikit-learn, got {output!r:.40}.")
    model.set_output(transform=output)


def _check_errors(errors: Any, model: Any) -> Any:
    shape = (model.n_steps_, len(model.circuit_.dictionaries))
    if getattr(errors, "shape", None) != shape or errors.dtype != np.float64:
        raise ValueError(f"errors_ must be numbers of shape {shape}, got {str(errors)[:80]}.")
    return errors


def _set_largest_norms(model: Any, attributes: Mapping[str, Any], names: Iterable[str]) -> None:
    norms = attributes.get("largest_norms_")
    if norms is None:
        return
    is_valid = isinstance(norms, dict) and set(norms) == set(names)
    if not is_valid or not all(type(n) is float and not n < 0 for n in norms.values()):
        raise ValueError(f"largest_norms_ must be a number >= 0 for each of {list(names)}.")
    model.largest_norms_ = norms


def _serialise_classifier(model: OrdinalBlockClassifier, arrays: ArrayStore) -> dict[str, Any]:
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(model, "lca_")
    lca = None if model.lca is None else model.lca.get_params(deep=False)
    own = {"lca": lca, "random_state": model.random_state, "class_prior": model.class_prior_}
    return {
        "classifier": to_json(own, "classifier", arrays),
        "fitted": _serialise_linked(model.lca_, arrays),
    }


def _deserialise_classifier(data: Any, arrays: ArrayStore) -> OrdinalBlockClassifier:
    from spikelca.estimators import LinkedLCA, OrdinalBlockClassifier

    own_data, fitted_data = unpack(data, "model", "classifier", "fitted")
    own = from_json(own_data, "classifier", arrays)
    if not isinstance(own, dict) or set(own) != {"lca", "random_state", "class_prior"}:
        raise ValueError(f"The classifier must have its parameters, got {str(own)[:80]}.")
    lca, prior = own["lca"], own["class_prior"]
    model = OrdinalBlockClassifier(
        None if lca is None else LinkedLCA(**_check_params(LinkedLCA, lca)),
        random_state=own["random_state"],
    )
    fitted = _deserialise_linked(fitted_data, arrays)
    n_classes = getattr(fitted.driver, "n_classes", None)
    if not hasattr(fitted, "classes_") or np.shape(prior) != (n_classes,):
        raise ValueError("The classifier must have one class and one fraction for each block.")
    model._set_fitted(fitted, check_matrix([prior], "class_prior")[0])
    return model


def _check_params(estimator: Any, params: Any) -> dict[str, Any]:
    names = estimator._get_param_names()
    if not isinstance(params, dict) or not set(params) <= set(names):
        raise ValueError(f"Parameters must be among {names}, got {str(params)[:80]}.")
    return params


def _check_attributes(data: Any, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    if not isinstance(data, dict) or not set(required) <= set(data) <= {*required, *optional}:
        raise ValueError(f"The attributes must include {required}, got {str(data)[:80]}.")
    invalid = [name for name in required if type(data[name]) is not int or data[name] < 0]
    if invalid:
        raise ValueError(f"The attributes {invalid} must be integers >= 0.")


def _set_feature_names(model: Any, attributes: Mapping[str, Any]) -> Any:
    names = attributes.get("feature_names_in_")
    if names is not None:
        if not isinstance(names, np.ndarray) or names.shape != (attributes["n_features_in_"],):
            raise ValueError("feature_names_in_ must have one name per feature.")
        model.feature_names_in_ = names
    if "n_features_in_" in attributes:
        model.n_features_in_ = attributes["n_features_in_"]
    return model


_KINDS: Mapping[str, tuple[Callable[[Any, ArrayStore], Any], Callable[[Any, ArrayStore], Any]]] = {
    "Circuit": (_serialise_circuit, _deserialise_circuit),
    "LinkedLCA": (_serialise_linked, _deserialise_linked),
    "LCACoder": (_serialise_coder, _deserialise_coder),
    "OrdinalBlockClassifier": (_serialise_classifier, _deserialise_classifier),
}
