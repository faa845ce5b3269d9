"""PyTorch modules, Keras models and ONNX graphs: read, called, sent to a worker, limited to one thread."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from itertools import combinations
from math import factorial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from spark_shap import Explainer
from spark_shap.engine import shipping
from spark_shap.errors import MethodError, ModelError, UsageError
from spark_shap.models.loading import load_model
from spark_shap.models.predictor import as_predictor
from spark_shap.models.sequences import sequence_model

pytestmark = pytest.mark.models

X = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 4)), columns=["income", "debt", "age", "term"])
Y = (X["income"] - X["debt"] > 0).astype(int)


@pytest.fixture(scope="module", autouse=True)
def backend():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        yield


@pytest.fixture(scope="module")
def torch():
    found = import_module("torch")
    found.manual_seed(0)
    return found


@pytest.fixture(scope="module")
def keras(backend):
    return import_module("keras")


@pytest.fixture(scope="module")
def module(torch):
    """In training mode, with dropout: explaining must use a copy in evaluation mode."""
    layers = [torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1), torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers).train()


@pytest.fixture(scope="module")
def network(keras):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1, "sigmoid")])


@pytest.fixture(scope="module")
def graph():
    return to_onnx(LogisticRegression().fit(X, Y), [("rows", float_type(4))])


def float_type(width):
    return import_module("skl2onnx.common.data_types").FloatTensorType([None, width])


def to_onnx(model, inputs, **options):
    convert = import_module("skl2onnx").to_onnx
    return convert(model, initial_types=inputs, options={id(model): options} if options else None)


def output_of(torch, module, rows):
    with torch.no_grad():
        return module.eval()(torch.tensor(rows.to_numpy(), dtype=torch.float32)).numpy()[:, 0]


def in_a_worker(explainer):
    """Return the explainer's method as a worker gets it: bytes, loaded once."""
    data = shipping.dumps(explainer.prepared)
    carrier = shipping._Inline("digest of this test", data)
    shipping._cache.clear()
    found = shipping.load(carrier)
    assert shipping.load(carrier) is found  # once a process
    return found


def test_a_module_is_explained_in_evaluation_mode_and_left_alone(torch, module):
    predictor = as_predictor(module, "probability", ("bad",))
    assert (predictor.output_space, predictor.output_names) == ("probability", ("bad",))
    found = predictor(X)
    assert module.training
    assert found[:, 0] == pytest.approx(output_of(torch, module, X), abs=1e-7)
    module.train()
    exact = Explainer(module, X[:5], n_evaluations=1025, method="exact")(X[5:15])
    total = exact.base_values + exact.values.sum(axis=1)
    assert total == pytest.approx(output_of(torch, module, X[5:15]), abs=1e-6)
    assert exact.std_errors.max() == 0


@pytest.mark.parametrize("form", ["module", "script", "export"])
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_files_of_torch(torch, module, tmp_path, form):
    plain = output_of(torch, module, X)
    example, path = torch.zeros(2, 4), tmp_path / "model.pt"
    if form == "module":
        torch.save(module, path)
    elif form == "script":
        torch.jit.save(torch.jit.trace(module.eval(), example), path)
    else:
        sizes = {0: torch.export.Dim("rows")}
        torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=(sizes,)), path)
    loaded = load_model(file=path)
    assert loaded.kind.startswith("torch (it is a")
    explainer = Explainer(loaded.model, X[:50], n_evaluations=65, surrogate_evaluations=0)
    assert explainer.prepared.method.game.predict(X)[:, 0] == pytest.approx(plain, abs=1e-6)
    sent = in_a_worker(explainer)
    assert sent.method.game.predict(X)[:, 0] == pytest.approx(plain, abs=1e-6)


def test_what_torch_cannot_explain(torch, module, tmp_path):
    torch.save(module.state_dict(), tmp_path / "parameters.pt")
    with pytest.raises(ModelError, match="parameters without their network"):
        load_model(file=tmp_path / "parameters.pt")
    with pytest.raises(ModelError, match="LSTM returned a tuple, not a tensor; wrap"):
        as_predictor(torch.nn.LSTM(4, 2))(X)
    with pytest.raises(ModelError, match=r"feature 'age' is object and the model takes numbers"):
        as_predictor(module)(X.assign(age="old"))


def test_one_thread_in_a_worker(torch, module, network, graph):
    before = torch.get_num_threads()
    try:
        for model in (module, network):
            torch.set_num_threads(2)
            in_a_worker(Explainer(model, X[:20], n_evaluations=33, surrogate_evaluations=0))
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    explainer = Explainer(graph, X[:20], n_evaluations=33, surrogate_evaluations=0)
    options = explainer.prepared.method.game.predict.function.session.get_session_options()
    assert options.intra_op_num_threads == 0  # as many as there are
    options = in_a_worker(explainer).method.game.predict.function.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_a_module_of_a_script_travels_with_its_class(torch, tmp_path):
    code = """if 1:
        import pickle, subprocess, sys
        import numpy as np, torch
        from spark_shap import Explainer
        from spark_shap.engine import shipping
        class Inner(torch.nn.Module):
            def forward(self, x):
                return x[:, :1] * x[:, 1:2]
        class Outer(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = Inner()
            def forward(self, x):
                return self.inner(x)
        x = np.random.default_rng(0).normal(size=(20, 4))
        data = shipping.dumps(Explainer(Outer(), x, n_evaluations=33, surrogate_evaluations=0).prepared)
        open(sys.argv[1], "wb").write(data)
    """
    path = tmp_path / "method.pkl"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    sent = shipping.load(shipping._Inline("a script's", path.read_bytes()))
    rows = np.arange(8.0).reshape(2, 4)
    assert sent.method.game.predict(rows)[:, 0].tolist() == [0.0, 20.0]


def test_a_keras_model_of_one_input(network, tmp_path):
    plain = network.predict(X.to_numpy(), verbose=0)[:, 0]
    network.save(tmp_path / "model.keras")
    loaded = load_model(file=tmp_path / "model.keras")
    assert loaded.kind == "keras (it is an archive with model.weights.h5)"
    explainer = Explainer(loaded.model, X[:50], n_evaluations=65, surrogate_evaluations=0)
    assert explainer(X[:10]).predictions == pytest.approx(plain[:10], abs=1e-6)
    assert in_a_worker(explainer).method.game.predict(X)[:, 0] == pytest.approx(plain, abs=1e-6)
    assert as_predictor(network)(X)[:, 0] == pytest.approx(plain, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_keras_hdf5(network, tmp_path):
    network.save(tmp_path / "model.h5")
    found = load_model(file=tmp_path / "model.h5")
    assert found.kind == "keras (it is an HDF5 file)"
    assert as_predictor(found.model)(X) == pytest.approx(network.predict(X.to_numpy(), verbose=0), abs=1e-6)


def test_a_keras_model_of_several_inputs_takes_columns_by_name(keras):
    inputs = [keras.Input((1,), name="debt"), keras.Input((1,), name="grade", dtype="int64")]
    grade = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(inputs[1]))
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(keras.layers.Concatenate()([inputs[0], grade])))
    rows = pd.DataFrame({"grade": np.arange(30) % 5, "other": 0, "debt": np.linspace(-1, 1, 30)})
    predictor = as_predictor(model)
    assert predictor.function.feature_names_in_ == ("debt", "grade")
    plain = model.predict([rows[["debt"]].to_numpy(), rows[["grade"]].to_numpy()], verbose=0)
    assert predictor(rows) == pytest.approx(plain, abs=1e-6)
    with pytest.raises(ModelError, match="input 'debt' is no column"):
        predictor(rows.drop(columns="debt"))
    with pytest.raises(ModelError, match=r"'grade' is float64 and the model takes int64: a value does not fit"):
        predictor(rows.assign(grade=0.5))


def test_a_worker_on_another_backend_says_so(network):
    data = as_predictor(network).function
    with pytest.raises(ModelError, match="loaded with Keras on jax, and this process runs Keras on torch"):
        type(data)(data.payload, "jax")(X)


def test_fingerprints_of_networks_are_those_of_what_they_compute(torch, keras, module, network):
    code = (
        "import torch; torch.manual_seed({}); from spark_shap.models.adapters import adapt\n"
        "print(adapt(torch.nn.Linear(4, 1)).fingerprint())"
    )
    runs = [subprocess.check_output([sys.executable, "-c", code.format(seed)], text=True) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    first, second = (as_predictor(keras.models.clone_model(network)).function for _ in "ab")
    second.model.set_weights(first.model.get_weights())
    assert first.payload != second.payload or first.fingerprint() == second.fingerprint()
    assert first.fingerprint() == second.fingerprint() != as_predictor(network).function.fingerprint()


def test_a_graph_of_one_input(graph, tmp_path):
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    loaded = load_model(file=tmp_path / "model.onnx")
    assert loaded.kind == "onnx (it begins as an ONNX graph does)"
    predictor = as_predictor(loaded.model)
    plain = LogisticRegression().fit(X, Y).predict_proba(X)[:, 1]
    assert predictor.output_space == "probability"  # the graph says so, its labels are left
    assert predictor(X)[:, 0] == pytest.approx(plain, abs=1e-6)
    explainer = Explainer(loaded.model, X[:50], n_evaluations=65, surrogate_evaluations=0)
    assert in_a_worker(explainer).method.game.predict(X)[:, 0] == pytest.approx(plain, abs=1e-6)
    session = import_module("onnxruntime").InferenceSession(str(tmp_path / "model.onnx"))
    assert as_predictor(session)(X) == pytest.approx(predictor(X))
    with pytest.raises(MethodError, match="the ONNX graph gives probabilities"):
        as_predictor(graph, "margin")
    with pytest.raises(ModelError, match="takes 4 features and the rows have 3"):
        predictor(X.iloc[:, :3])


@pytest.mark.parametrize("zipmap", [True, False, "columns"])
def test_outputs_of_skl2onnx(zipmap):
    model = LogisticRegression().fit(X, Y)
    graph = to_onnx(model, [("rows", float_type(4))], zipmap=zipmap)
    if zipmap == "columns":  # an output for each class
        with pytest.raises(ModelError, match="one output of floats was expected; export the one to explain alone"):
            as_predictor(graph)
        return
    assert as_predictor(graph)(X)[:, 0] == pytest.approx(model.predict_proba(X)[:, 1], abs=1e-6)


def test_a_graph_of_several_inputs_takes_texts_and_integers():
    types = import_module("skl2onnx.common.data_types")
    rows = pd.DataFrame({"purpose": ["car", "house", "other"] * 40, "months": np.arange(120), "debt": X["debt"][:120]})
    scale = ColumnTransformer([("text", OneHotEncoder(), ["purpose"]), ("n", StandardScaler(), ["months", "debt"])])
    model = make_pipeline(scale, LogisticRegression()).fit(rows, Y[:120])
    kinds = {"purpose": types.StringTensorType, "months": types.Int64TensorType, "debt": types.FloatTensorType}
    graph = to_onnx(model, [(name, kind([None, 1])) for name, kind in kinds.items()])
    explainer = Explainer(graph, rows[:40], n_evaluations=65)
    assert explainer.prepared.method.game.predict.function.feature_names_in_ == ("purpose", "months", "debt")
    assert explainer(rows[40:60]).predictions == pytest.approx(model.predict_proba(rows)[40:60, 1], abs=1e-5)


def test_a_damaged_graph(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    with pytest.raises(ModelError, match=r"model.onnx: .*onnxruntime cannot load it"):
        load_model(file=tmp_path / "model.onnx")


CHANNELS = {name: [f"{name}_{month}" for month in range(1, 7)] for name in ("bill", "paid")}
MONTHS = [name for channel in CHANNELS.values() for name in channel]


def test_a_recurrent_network_over_months(torch):
    class Lender(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.months = torch.nn.LSTM(2, 4, batch_first=True)
            self.last = torch.nn.Linear(5, 1)

        def forward(self, months, static):
            out, _ = self.months(months)
            return torch.sigmoid(self.last(torch.cat([out[:, -1], static], 1)))

    torch.manual_seed(1)
    lender = Lender().eval()
    table = pd.DataFrame(np.random.default_rng(1).normal(size=(80, 13)), columns=["age", *MONTHS])
    model = sequence_model(lender, CHANNELS, ["age"])
    assert model.feature_names_in_ == (*MONTHS, "age")
    months = np.stack([table[CHANNELS[name]].to_numpy() for name in ("bill", "paid")], axis=2)  # (80, 6, 2)
    with torch.no_grad():
        pair = (torch.tensor(one, dtype=torch.float32) for one in (months, table[["age"]].to_numpy()))
        plain = lender(*pair).numpy()[:, 0]
    explainer = Explainer(model, table[:30], n_evaluations=129, output_space="probability", surrogate_evaluations=0)
    found = explainer(table[30:40])
    assert found.predictions == pytest.approx(plain[30:40], abs=1e-6)
    assert found.base_values + found.values.sum(axis=1) == pytest.approx(plain[30:40], abs=1e-9)
    # The last month weighs more than the first in a network that looks at its last state.
    size = dict(zip(found.feature_names, np.abs(found.values).mean(axis=0), strict=True))
    assert size["bill_6"] > size["bill_1"]
    assert in_a_worker(explainer).method.game.predict(table)[:, 0] == pytest.approx(plain, abs=1e-6)


def test_months_or_measures_of_an_lstm_as_players(torch):
    """Time steps, or whole channels, are masked as one: their values are exact, for so few players."""
    torch.manual_seed(2)
    lstm = torch.nn.LSTM(2, 3, batch_first=True)

    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = lstm, torch.nn.Linear(3, 1)

        def forward(self, months):
            return self.out(self.lstm(months)[0][:, -1])

    model = sequence_model(Last().eval(), CHANNELS)
    table = pd.DataFrame(np.random.default_rng(3).normal(size=(40, 12)), columns=MONTHS)
    steps = {f"month {month}": [f"{name}_{month}" for name in CHANNELS] for month in range(1, 7)}
    for groups in (steps, CHANNELS):
        explainer = Explainer(model, table[:8], groups=groups, method="exact", n_evaluations=2049)
        found = explainer(table[8:12])
        assert set(found.feature_names) == set(groups)
        order = [found.feature_names.index(name) for name in groups]

        def value(inside, row, groups=groups):
            mixed = table[:8].copy()
            own = [name for group in inside for name in groups[group]]
            mixed[own] = table.loc[row, own].to_numpy()
            return float(np.mean(model(mixed)))

        names = list(groups)
        for place, row in enumerate(range(8, 12)):
            game = {inside: value(inside, row) for n in range(len(names) + 1) for inside in combinations(names, n)}
            expected = []
            for name in names:
                rest = [other for other in names if other != name]
                total = 0.0
                for n in range(len(rest) + 1):
                    weight = factorial(n) * factorial(len(rest) - n) / factorial(len(names))
                    for inside in combinations(rest, n):
                        joined = tuple(one for one in names if one == name or one in inside)
                        total += weight * (game[joined] - game[inside])
                expected.append(total)
            assert found.values[place][order] == pytest.approx(expected, abs=1e-6)


def test_sequences_that_are_none(torch):
    network = torch.nn.Linear(1, 1)
    with pytest.raises(UsageError, match="every channel needs a column for every step"):
        sequence_model(network, [["a", "b"], ["c"]])
    with pytest.raises(UsageError, match="'a' stands twice"):
        sequence_model(network, [["a", "b"]], ["a"])
    with pytest.raises(UsageError, match="a SimpleNamespace is no PyTorch module"):
        sequence_model(SimpleNamespace(), [["a"]])
