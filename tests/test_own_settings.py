"""One hundred settings of tables, images, text and sound: optimal codes, or a clear error."""

from __future__ import annotations

import re
import warnings
from functools import cache

import numpy as np
import pytest
from scipy import sparse
from sklearn import datasets
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import Lasso
from sklearn.preprocessing import minmax_scale, normalize, scale

from spikelca import LinkedLCA

N_SAMPLES, N_NEURONS, N_CHECKED = 120, 24, 8

TABLES = ("wine", "breast_cancer", "diabetes", "iris")
SCALES = {"raw": np.asarray, "standardised": scale, "unit norm": normalize, "0 to 1": minmax_scale}


def table(name):
    return getattr(datasets, f"load_{name}")().data


def patches():
    """Patches of 6 x 6 pixels of a photograph, 0 to 255."""
    brightness = datasets.load_sample_image("china.jpg").mean(axis=2)
    found = extract_patches_2d(brightness, (6, 6), max_patches=N_SAMPLES, random_state=0)
    return found.reshape(len(found), -1)


def sentences():
    pages = [getattr(datasets, f"load_{name}")().DESCR for name in (*TABLES, "digits")]
    return [line for page in pages for line in page.splitlines() if len(line.split()) > 4]


def sound():
    """Frames of 64 values of a sweep with noise, sampled at 8 kHz."""
    time = np.arange(64 * N_SAMPLES) / 8000
    tone = np.sin(2 * np.pi * (200 + 600 * time) * time)
    noise = 0.1 * np.random.default_rng(0).normal(size=len(time))
    return (tone + noise).reshape(N_SAMPLES, 64)


DATA = {
    **{f"{name}, {kind}": (name, kind) for name in TABLES for kind in SCALES},
    "digits, 0 to 16": lambda: table("digits"),
    "digits, bytes": lambda: (table("digits") * 255 / 16).astype(np.uint8),
    "digits, unit norm": lambda: normalize(table("digits")),
    "patches, 0 to 255": patches,
    "patches, zero mean": lambda: scale(patches(), axis=1, with_std=False),
    "words, counts": lambda: CountVectorizer(min_df=2).fit_transform(sentences()),
    "words, tf-idf": lambda: TfidfVectorizer(min_df=2).fit_transform(sentences()),
    "sound, frames": sound,
    "sound, spectra": lambda: np.abs(np.fft.rfft(sound(), axis=1)),
}


@cache
def samples(name):
    make = DATA[name]
    X = SCALES[make[1]](table(make[0])) if isinstance(make, tuple) else make()
    order = np.random.default_rng(0).permutation(X.shape[0])[:N_SAMPLES]
    return X[order]


def objective(atoms, x, code, threshold):
    return 0.5 * np.sum((x - code @ atoms) ** 2) + threshold * np.abs(code).sum()


@pytest.mark.parametrize("two_sided", [False, True], ids=["one-sided", "two-sided"])
@pytest.mark.parametrize("threshold", [0.1, "auto"])
@pytest.mark.parametrize("name", DATA)
def test_codes_are_optimal_or_an_error_is_clear(name, threshold, two_sided):
    X = samples(name)
    lca = LinkedLCA(
        N_NEURONS, threshold=threshold, two_sided=two_sided, tol=1e-8, n_epochs=2, random_state=0
    )
    message = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            codes = lca.fit(X).transform(X)
        except ValueError as error:
            message = str(error)
    if message:
        assert re.search(r"must .*, got .*\. [A-Z]", message, re.DOTALL)
        return
    found = [str(warning.message) for warning in caught]
    active = (codes != 0).mean()
    assert active > 0 or found
    assert threshold != "auto" or 0.03 < active < 0.6
    for text in found:
        assert re.search(r"(Use|Scale|use|scale|larger|smaller|fewer|two_sided)", text), text
    assert len(found) <= 1
    atoms, lam = lca.components_, lca.threshold_
    dense = np.asarray(X.todense() if sparse.issparse(X) else X, float)
    worst = 0.0
    for x, code in zip(dense[:N_CHECKED], codes[:N_CHECKED], strict=True):
        lasso = Lasso(
            lam / len(x), fit_intercept=False, positive=not two_sided, tol=1e-12, max_iter=100_000
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            best = objective(atoms, x, lasso.fit(atoms.T, x).coef_, lam)
        excess = objective(atoms, x, code, lam) - best
        worst = max(worst, excess / max(best, np.finfo(float).tiny))
    assert worst < 1e-6
