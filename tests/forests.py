"""Random forests in the common form, with every rule there is, and rows that meet all of their edges."""

from __future__ import annotations

import numpy as np

from spark_shap.forest import ZERO, Forest

_COLUMNS = {
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "rule": np.uint8,
    "missing_left": bool,
    "nan_is_zero": bool,
    "zero_is_missing": bool,
    "category_start": np.int32,
    "category_count": np.int32,
}


def make_forest(trees, n_features, *, base=(0.0,), single_precision=False):
    """Trees as nested tuples: a leaf is its outputs, an inner node (fields of `Forest`, left, right)."""
    rows, values, words, roots = [], [], [], []

    def add(tree):
        place = len(rows)
        rows.append(dict.fromkeys(_COLUMNS, 0) | {"feature": -1, "left": -1, "right": -1})
        values.append(np.zeros(len(base)))
        if not (isinstance(tree, tuple) and isinstance(tree[0], dict)):
            values[place] = np.broadcast_to(tree, len(base)).astype(float)
            return place
        test, left, right = tree
        rows[place].update({name: value for name, value in test.items() if name != "categories"})
        if "categories" in test:
            bits = [sum(1 << c % 32 for c in test["categories"] if c // 32 == word) for word in range(2)]
            rows[place].update(rule=2, category_start=len(words), category_count=len(bits))
            words.extend(bits)
        rows[place]["left"], rows[place]["right"] = add(left), add(right)
        return place

    for tree in trees:
        roots.append(add(tree))
    columns = {name: np.array([row[name] for row in rows], dtype=dtype) for name, dtype in _COLUMNS.items()}
    return Forest(
        n_features=n_features,
        base=np.array(base, dtype=float),
        roots=np.array(roots, dtype=np.int32),
        category_words=np.array(words, dtype=np.uint32),
        value=np.array(values),
        single_precision=single_precision,
        **columns,
    )


def random_forest(
    seed, *, n_trees=4, depth=4, n_features=5, n_outputs=1, single_precision=False, kinds="<=,<,cat", stop=0.1
):
    """Trees that test few values of few features, so that paths repeat features and contradict themselves."""
    rng = np.random.default_rng(seed)
    kinds = kinds.split(",")

    def grow(level, only):
        if level == depth or rng.random() < stop * level:
            return rng.normal(size=n_outputs) * only
        kind = rng.choice(kinds)
        test = {
            "feature": rng.integers(n_features),
            "missing_left": rng.random() < 0.5,
            "nan_is_zero": rng.random() < 0.2,
            "zero_is_missing": rng.random() < 0.2,
        }
        if kind == "cat":
            test["categories"] = [c for c in (0, 1, 2, 3, 5, 31, 32, 40) if rng.random() < 0.5]
        else:
            test["threshold"] = rng.choice([-1.5, -1.0, 0.0, 0.1, 1.0, 2.0, 32.5])
            test["rule"] = int(kind == "<")
        return test, grow(level + 1, only), grow(level + 1, only)

    # Half of the trees have one output only, as those of boosted classifiers have.
    shares = [np.eye(n_outputs)[rng.integers(n_outputs)] if tree % 2 else 1.0 for tree in range(n_trees)]
    trees = [grow(0, share) for share in shares]
    return make_forest(trees, n_features, base=rng.normal(size=n_outputs), single_precision=single_precision)


def edge_rows(seed, n_rows, n_features=5):
    """Rows on thresholds, beside them, in and out of categories, missing, and infinite."""
    grid = [-np.inf, -2.0, -1.5, -1.0, -0.5, -0.0, 0.0, ZERO, -ZERO, 0.1, np.nextafter(0.1, 1), np.float32(0.1)]
    grid += [0.9, 1.0, 1.5, 2.0, 3.0, 5.0, 31.0, 32.0, 32.5, 40.9, 41.0, 1e300, np.inf, np.nan, np.nan]
    return np.random.default_rng(seed).choice(np.array(grid, dtype=float), size=(n_rows, n_features))
