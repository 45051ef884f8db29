"""The scikit-learn faces: estimator checks, pipelines, columns, drivers that stay out of codes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from spikelca import Fade, LCACoder, LinkedLCA, OrdinalDriver
from spikelca.datasets import linked_bars


@parametrize_with_checks([LinkedLCA(n_components=6, batch_size=10), LCACoder(np.eye)])
def test_estimators_pass_every_check_of_scikit_learn(estimator, check):
    check(estimator)
