"""The other explainers, run as their documentation says, and counted by the model rows they ask for.

Each has settings to try, and is judged at its best one. Where a method takes the background whole it gets it
whole; where every coalition is answered by all rows of the background it gets as few rows as are best. shapiq's
ProxySPEX, Owen and stratified sampling are left out: up to 5 s a row, and in a trial never the best.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tasks import Task
    from truth import Truth

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_FINE_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_NEAR = 3.0  # a peer whose error on a few rows is larger than this times the best one's is not run on all
_OVER = 1.02  # a peer may take two per cent more than the budget


class Counter:
    """The model, counting the rows that it is asked for."""

    def __init__(self, predict: Callable[[np.ndarray], np.ndarray]) -> None:
        self.predict, self.rows = predict, 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.atleast_2d(rows)
        self.rows += len(rows)
        return self.predict(rows)


@dataclass(frozen=True)
class Peer:
    """A method of another library.

    Attributes
    ----------
    name
        The library's name for it.
    settings
        From budget and number of features to what is worth trying.
    build
        From model, background, a setting and a seed to a function from one row to its (M,) values.
    other_background
        It explains against a summary of the background, so that its error stays however long it runs.
    """

    name: str
    settings: Callable[[int, int], Iterator[dict[str, Any]]]
    build: Callable[[Counter, np.ndarray, dict[str, Any], int], Callable[[np.ndarray], np.ndarray]]
    other_background: bool = False


@dataclass(frozen=True)
class Run:
    """(n, M) values, and model rows and seconds a row."""

    values: np.ndarray
    evaluations: float
    seconds: float


def run_peer(task: Task, peer: Peer, setting: dict[str, Any], rows: np.ndarray, seed: int) -> Run:
    """Explain row by row; each row has draws (and a sampled background) of its own; building is not counted."""
    counter, values = Counter(task.predict), []
    evaluations, seconds = 0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, row in enumerate(rows):
            own = 1_000_003 * seed + place
            np.random.seed(own % 2**32)  # noqa: NPY002 - shap draws from the global generator
            explain = peer.build(counter, task.background, setting, own)
            before, start = counter.rows, time.process_time()
            values.append(explain(row))
            seconds += time.process_time() - start
            evaluations += counter.rows - before
    return Run(np.array(values), evaluations / len(rows), seconds / len(rows))


def fits(run: Run, budget: int) -> bool:
    """Whether a run is one that the budget allows, and gave numbers."""
    return run.evaluations <= _OVER * budget + 1 and bool(np.isfinite(run.values).all())


def _sampling_settings(budget: int, n_features: int) -> Iterator[dict[str, Any]]:
    samples = (budget - 1) // 2
    if samples >= 2 * n_features:
        yield {"nsamples": samples}
        if samples >= 8 * n_features:  # below the default of 100 the rest goes where the variance is
            yield {"nsamples": samples, "min_samples_per_feature": samples // (2 * n_features)}


def _sampling(model: Counter, background: np.ndarray, setting: dict[str, Any], _: int) -> Any:
    import shap

    explainer = shap.SamplingExplainer(model, background)
    return lambda row: explainer.shap_values(row[None], silent=True, **setting)[0]


def _permutation_settings(budget: int, n_features: int) -> Iterator[dict[str, Any]]:
    """Sizes beyond the budget too: rows that share values with the background take fewer evaluations."""
    walk = 2 * n_features + 1
    for size in _FINE_SIZES:
        if size * walk <= 2.5 * budget:
            yield {"background": size, "permutations": max(1, int(_OVER * budget // (size * walk)))}


def _permutation(model: Counter, background: np.ndarray, setting: dict[str, Any], seed: int) -> Any:
    import shap

    size = setting["background"]
    masker = shap.maskers.Independent(shap.sample(background, size, random_state=seed % 2**32), max_samples=size)
    explainer = shap.PermutationExplainer(model, masker)
    most = setting["permutations"] * (2 * background.shape[1] + 1)
    return lambda row: explainer(row[None], max_evals=most, silent=True).values[0]


def _kernel_settings(kmeans: bool) -> Callable[[int, int], Iterator[dict[str, Any]]]:
    def settings(budget: int, n_features: int) -> Iterator[dict[str, Any]]:
        for size in _FINE_SIZES:
            coalitions = (budget - 1) // size
            if coalitions >= max(8, n_features // 2):
                yield {"background": size, "nsamples": coalitions, "kmeans": kmeans}

    return settings


def _kernel(model: Counter, background: np.ndarray, setting: dict[str, Any], seed: int) -> Any:
    import shap

    size = setting["background"]
    rows = _summary(background.tobytes(), background.shape, size) if setting["kmeans"] else None
    data = shap.sample(background, size, random_state=seed % 2**32) if rows is None else rows
    explainer = shap.KernelExplainer(model, data)
    return lambda row: explainer.shap_values(row[None], nsamples=setting["nsamples"], l1_reg=False, silent=True)[0]


@lru_cache(maxsize=64)
def _summary(background: bytes, shape: tuple[int, ...], size: int) -> Any:
    """Centres of the background with their weights: made once, as a user would."""
    import shap

    return shap.kmeans(np.frombuffer(background).reshape(shape), size)


def _shapiq_settings(sizes: tuple[int, ...], least: Callable[[int], int]) -> Callable[..., Iterator[dict[str, Any]]]:
    """So many background rows answer each coalition of a call; 0: each coalition has a row of its own."""

    def settings(budget: int, n_features: int) -> Iterator[dict[str, Any]]:
        for size in sizes:
            if budget // max(size, 1) >= least(n_features):
                yield {"background": size, "coalitions": budget // max(size, 1)}

    return settings


def _shapiq(name: str, **options: Any) -> Callable[..., Any]:
    """An approximator of shapiq with its imputer, or with a game that draws a background row a coalition."""

    def build(model: Counter, background: np.ndarray, setting: dict[str, Any], seed: int) -> Any:
        import shapiq

        n_features, size = background.shape[1], setting["background"]
        approximator = getattr(shapiq.approximator, name)(n=n_features, random_state=seed % 2**31, **options)
        rng = np.random.default_rng(seed)
        extra = {"batch_size": 1} if name == "PermutationSamplingSV" else {}
        if size:
            # A generator instead of a number: a new sample at each call, as with None, but repeatable.
            imputer = shapiq.MarginalImputer(model, background, sample_size=size, random_state=rng)
        else:
            base = model(background).mean()

        def game(row: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
            def value(coalitions: np.ndarray) -> np.ndarray:
                coalitions = np.atleast_2d(coalitions)
                drawn = background[rng.integers(0, len(background), len(coalitions))]
                answers = model(np.where(coalitions, row, drawn)) - base
                answers[~coalitions.any(axis=1)] = 0.0
                return answers

            return value

        def explain(row: np.ndarray) -> np.ndarray:
            asked = imputer.fit(row[None]) if size else game(row)
            found = approximator.approximate(setting["coalitions"], asked, **extra)
            return np.array([found[(feature,)] for feature in range(n_features)])

        return explain

    return build


PEERS = {
    peer.name: peer
    for peer in (
        Peer("shap.SamplingExplainer", _sampling_settings, _sampling),
        Peer("shap.PermutationExplainer", _permutation_settings, _permutation),
        Peer("shap.KernelExplainer", _kernel_settings(False), _kernel),
        Peer("shap.KernelExplainer, k-means", _kernel_settings(True), _kernel, other_background=True),
        Peer(
            "shapiq.PermutationSamplingSV",
            _shapiq_settings(_SIZES, lambda n_features: n_features + 1),
            _shapiq("PermutationSamplingSV"),
        ),
        Peer(
            "shapiq.KernelSHAP",
            _shapiq_settings((0, *_SIZES), lambda n_features: n_features + 2),
            _shapiq("KernelSHAP", pairing_trick=True),
        ),
        Peer(
            "shapiq.kADDSHAP",
            _shapiq_settings((0, 3, 6), lambda n_features: n_features * (n_features + 1) // 2 + 2),
            _shapiq("kADDSHAP", max_order=2, pairing_trick=True),
        ),
        Peer("shapiq.SVARM", _shapiq_settings((0, 4, 16), lambda n_features: 2 * n_features), _shapiq("SVARM")),
        Peer(
            "shapiq.UnbiasedKernelSHAP",
            _shapiq_settings((0, 4, 16), lambda n_features: n_features),
            _shapiq("UnbiasedKernelSHAP", pairing_trick=True),
        ),
    )
}


def run_peers(task: Task, truth: Truth, budget: int, *, names: list[str], n_search: int) -> list[dict[str, Any]]:
    """Search the settings of all on a few rows; measure on all rows the two best of each that is near the best."""
    tried = {name: _search(task, PEERS[name], truth.values[:n_search], budget) for name in names}
    tried = {name: found for name, found in tried.items() if found}
    alike = {name: PEERS[name].other_background for name in tried}
    records = []
    for name, found in tried.items():
        best = min(other[0][0] for rival, other in tried.items() if alike[rival] == alike[name])
        if found[0][0] <= _NEAR * best:
            n_rows, candidates = len(truth.values), [setting for _, _, setting, _ in found[:2]]
            runs = [(run_peer(task, PEERS[name], setting, task.pool[:n_rows], 5), setting) for setting in candidates]
        else:
            n_rows, runs = n_search, [(found[0][3], found[0][2])]
        records += _record(task, truth, budget, name, [run for run in runs if fits(run[0], budget)], n_rows)
    return records


def _search(task: Task, peer: Peer, truth: np.ndarray, budget: int) -> list[tuple[float, int, dict[str, Any], Run]]:
    """Mean squared error of each setting that the budget allows, best first."""
    found = []
    for place, setting in enumerate(peer.settings(budget, task.n_features)):
        run = run_peer(task, peer, setting, task.pool[: len(truth)], 77)
        if fits(run, budget):
            found.append((float(((run.values - truth) ** 2).mean()), place, setting, run))
    return sorted(found)


def _record(
    task: Task, truth: Truth, budget: int, name: str, runs: list[tuple[Run, dict[str, Any]]], n_rows: int
) -> list[dict[str, Any]]:
    judged = [
        {
            "task": task.name,
            "method": name,
            "budget": budget,
            "nmse": float(((run.values - truth.values[:n_rows]) ** 2).mean() / truth.variance - truth.noise),
            "evaluations": run.evaluations,
            "seconds": run.seconds,
            "setting": setting,
            "other_background": PEERS[name].other_background,
            "rows": n_rows,
        }
        for run, setting in runs
    ]
    return sorted(judged, key=lambda one: one["nmse"])[:1]
