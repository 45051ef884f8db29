"""Save and load models: circuits and fitted estimators, equal to the last bit, without pickle.

This room stands above the estimators, because whoever knows what a model is has to know both them
and circuits. What they share with checkpoints, the file itself, is in `spikelca.modelfile` below.

A model file carries numbers and words and no code, and is read with suspicion: a file from a
stranger is a model, or a `ModelFileError`. What would have to be trusted, a function as waveform or
as dictionary, is refused when it is saved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
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

if TYPE_CHECKING:
    from spikelca.estimators import LCACoder, LinkedLCA

    Model = Circuit | LinkedLCA | LCACoder

__all__ = ["ModelFileError", "load", "save"]

_NAMED_DICTIONARIES: Mapping[str, Any] = {"numpy.eye": np.eye, "numpy.identity": np.identity}
"""Functions that a file may name as the dictionary of an `LCACoder`."""

_FITTED_ATTRIBUTES = ("n_iter_", "n_steps_", "n_redrawn_")
_FEATURE_ATTRIBUTES = ("n_features_in_", "feature_names_in_")


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Save a circuit or a fitted estimator.

    The file is replaced as a whole or not at all: a crash, a full disk or a kill leaves the old
    file or the new one.

    Parameters
    ----------
    model : Circuit, LinkedLCA or LCACoder
    path : path
        Any name; its folder must exist.

    Raises
    ------
    TypeError
        If the model is something else, or holds what a model file cannot: a function, an engine
        object, a driver of a class of your own.
    NotFittedError
        If a `LinkedLCA` has learned nothing yet.
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
            f"model is {type(model).__name__}; one of {list(_KINDS)} was awaited. Of a pipeline, "
            "save the step."
        )
    arrays = ArrayStore()
    told = _KINDS[kind][0](model, arrays)
    write_archive(path, {"kind": kind, "model": told}, arrays.arrays)


def load(path: str | os.PathLike[str]) -> Model:
    """Load what `save` has saved, equal to the last bit.

    Parameters
    ----------
    path : path

    Returns
    -------
    Circuit, LinkedLCA or LCACoder

    Raises
    ------
    ModelFileError
        If the file is anything but a whole, unaltered model file.
    OSError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from spikelca import LCACoder, load, save
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "coder.spikelca"
    >>> save(LCACoder(np.eye(2), threshold=0.2), path)
    >>> load(path).threshold
    0.2
    """
    found, held = read_archive(path)
    with model_file_errors(path):
        arrays = ArrayStore(held)
        kind, told = unpack(found, "model", "kind", "model")
        if kind == "checkpoint":
            raise ValueError(
                "found a checkpoint of a learning; a model was awaited. Go on with it by "
                "fit(X, y, checkpoint=path, resume=True), then save the estimator."
            )
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(f"found a {str(kind)[:40]!r}; one of {list(_KINDS)} was awaited.")
        model = _KINDS[kind][1](told, arrays)
        arrays.check_all_used()
        return model


def _class_by_name(kind: str) -> type:
    # scikit-learn takes a while to import; who saves circuits does not wait for it.
    if kind == "Circuit":
        return Circuit
    from spikelca import estimators

    found: type = getattr(estimators, kind)
    return found


# -------------------------------------------------------------------------------- kinds of model


def _serialise_circuit(circuit: Circuit, arrays: ArrayStore) -> Any:
    return circuit_to_json(circuit, "circuit", arrays)


def _deserialise_circuit(told: Any, arrays: ArrayStore) -> Circuit:
    return circuit_from_json(told, "circuit", arrays)


def _serialise_linked(model: LinkedLCA, arrays: ArrayStore) -> dict[str, Any]:
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(model, "circuit_")
    names = (*_FITTED_ATTRIBUTES, *_FEATURE_ATTRIBUTES, "classes_")
    kept = {name: getattr(model, name) for name in names if hasattr(model, name)}
    return {
        "params": to_json(model.get_params(deep=False), "params", arrays),
        "circuit": circuit_to_json(model.circuit_, "circuit", arrays),
        "attributes": to_json(kept, "attributes", arrays),
        "rng": rng_to_json(model._rng.bit_generator.state),
    }


def _deserialise_linked(told: Any, arrays: ArrayStore) -> LinkedLCA:
    from spikelca.estimators import LinkedLCA

    params, circuit, kept, rng = unpack(told, "model", "params", "circuit", "attributes", "rng")
    model = LinkedLCA(**_check_params(LinkedLCA, from_json(params, "params", arrays)))
    learned = circuit_from_json(circuit, "circuit", arrays)
    found = from_json(kept, "attributes", arrays)
    _check_attributes(
        found, (*_FITTED_ATTRIBUTES, "n_features_in_"), ("feature_names_in_", "classes_")
    )
    _check_fitted(model, learned, found)
    generator = np.random.default_rng()
    generator.bit_generator.state = rng_from_json(rng, "rng")
    model._keep(
        learned, found.get("classes_"), generator, *(found[name] for name in _FITTED_ATTRIBUTES)
    )
    return _set_feature_names(model, found)


def _check_fitted(model: LinkedLCA, circuit: Circuit, found: Mapping[str, Any]) -> None:
    """What the circuit is must be what the parameters ask for and the attributes tell."""
    n_features, classes = found["n_features_in_"], found.get("classes_")
    widths = circuit.widths
    asked = {"x": n_features} if model.modalities is None else dict(model.modalities)
    n_classes = getattr(model.driver, "n_classes", None)
    awaited = (model.n_components, list(asked.items()), n_features)
    if (circuit.n_neurons, list(widths.items()), sum(widths.values())) != awaited:
        raise ValueError(
            f"found a circuit of {circuit.n_neurons} neurons that sees {str(widths)[:80]}, in an "
            f"estimator of {str(awaited)[:120]}."
        )
    if classes is not None and (
        not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) != n_classes
    ):
        raise ValueError(f"found classes that do not fit a driver of {n_classes} classes.")


def _serialise_coder(model: LCACoder, arrays: ArrayStore) -> dict[str, Any]:
    params = model.get_params(deep=False)
    dictionary = params.pop("dictionary")
    if callable(dictionary):
        names = [name for name, function in _NAMED_DICTIONARIES.items() if function is dictionary]
        if not names:
            raise TypeError(
                f"dictionary is the function {dictionary!r}, which a model file cannot hold; an "
                f"array or one of {list(_NAMED_DICTIONARIES)} was awaited. Call it, and hand over the array."
            )
        told: Any = names[0]
    else:
        told = to_json(np.asarray(dictionary), "dictionary", arrays)
    names = [*_FEATURE_ATTRIBUTES, "n_components_"]
    kept = {name: getattr(model, name) for name in names if hasattr(model, name)}
    return {
        "dictionary": told,
        "params": to_json(params, "params", arrays),
        "attributes": to_json(kept, "attributes", arrays),
    }


def _deserialise_coder(told: Any, arrays: ArrayStore) -> LCACoder:
    from spikelca.estimators import LCACoder

    dictionary, params, kept = unpack(told, "model", "dictionary", "params", "attributes")
    named = isinstance(dictionary, str) and dictionary in _NAMED_DICTIONARIES
    atoms = (
        _NAMED_DICTIONARIES[dictionary] if named else from_json(dictionary, "dictionary", arrays)
    )
    if not named and (not isinstance(atoms, np.ndarray) or atoms.ndim != 2):
        raise ValueError("found no 2D array as dictionary.")
    model = LCACoder(atoms, **_check_params(LCACoder, from_json(params, "params", arrays)))
    found = from_json(kept, "attributes", arrays)
    fitted = ("n_features_in_", "n_components_") if found else ()
    _check_attributes(found, fitted, ("feature_names_in_",) if found else ())
    sizes = tuple(found[name] for name in reversed(fitted))
    if found and not named and sizes != atoms.shape:
        raise ValueError(f"found sizes {sizes} for a dictionary of shape {atoms.shape}.")
    for name in fitted:
        setattr(model, name, found[name])
    return _set_feature_names(model, found)


def _check_params(estimator: Any, found: Any) -> dict[str, Any]:
    known = estimator._get_param_names()
    if not isinstance(found, dict) or not set(found) <= set(known):
        raise ValueError(f"found the parameters {str(found)[:80]}; names out of {known} awaited.")
    return found


def _check_attributes(found: Any, needed: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    if not isinstance(found, dict) or not set(needed) <= set(found) <= {*needed, *allowed}:
        raise ValueError(f"found the attributes {str(found)[:80]}; {needed} were awaited.")
    strange = [name for name in needed if type(found[name]) is not int or found[name] < 0]
    if strange:
        raise ValueError(f"found {strange} that are no counts.")


def _set_feature_names(model: Any, found: Mapping[str, Any]) -> Any:
    names = found.get("feature_names_in_")
    if names is not None:
        if not isinstance(names, np.ndarray) or names.shape != (found["n_features_in_"],):
            raise ValueError("found names that are not one for each feature.")
        model.feature_names_in_ = names
    if "n_features_in_" in found:
        model.n_features_in_ = found["n_features_in_"]
    return model


_KINDS: Mapping[str, tuple[Callable[[Any, ArrayStore], Any], Callable[[Any, ArrayStore], Any]]] = {
    "Circuit": (_serialise_circuit, _deserialise_circuit),
    "LinkedLCA": (_serialise_linked, _deserialise_linked),
    "LCACoder": (_serialise_coder, _deserialise_coder),
}
