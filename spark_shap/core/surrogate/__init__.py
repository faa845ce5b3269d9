"""The surrogate: a cheap model of the model whose Shapley values are known exactly.

It is fitted once, on the driver, to the model's answers on hybrid rows, and travels to the workers. Its
attributions against the whole background are table look-ups, and so are its answers to the sampler's pairs.
"""

from __future__ import annotations

from spark_shap.core.surrogate.encoded import Encoded
from spark_shap.core.surrogate.fitting import fit_form, fit_surrogate
from spark_shap.core.surrogate.kept import FittedBefore, form_from, stored
from spark_shap.core.surrogate.model import Form, Surrogate
from spark_shap.core.surrogate.settings import SurrogateSettings, default_settings

__all__ = [
    "Encoded",
    "FittedBefore",
    "Form",
    "Surrogate",
    "SurrogateSettings",
    "default_settings",
    "fit_form",
    "fit_surrogate",
    "form_from",
    "stored",
]
