from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forests import edge_rows, make_forest, random_forest

from spark_shap.core.trees import BackgroundHistograms, TreeTables, plan, plan_tables, plan_trees
from spark_shap.core.trees.grouping import group_leaves, single_leaves
from spark_shap.core.trees.paths import read_paths
from spark_shap.errors import MethodError


def path_of(n_features):
    """One path that tests every feature once; all other leaves hang from it."""
    tree = 1.0
    for feature in range(n_features):
        tree = ({"feature": feature, "threshold": 0.0}, tree, float(feature))
    return make_forest([tree], n_features)


def build(forest, background, **options):
    made = plan_trees(forest, **options)
    return TreeTables.build(made, BackgroundHistograms.local(made, background, np.ones(len(background))))


@pytest.mark.parametrize(("n_features", "deep"), [(9, False), (16, False), (17, True)])
def test_paths_too_long_for_tables_are_walked(n_features, deep):
    forest = path_of(n_features)
    made = plan_trees(forest)
    assert (len(made.deep), len(made.sections)) == (int(deep), int(not deep))
    rng = np.random.default_rng(0)
    x, background = rng.normal(size=(20, n_features)), rng.normal(size=(50, n_features))
    found = build(forest, background)
    assert found.predict(x) == pytest.approx(forest.predict(x), abs=1e-12)
    # The last test is at the root: whoever fails it has its value whatever the other features are.
    root = make_forest([({"feature": n_features - 1, "threshold": 0.0}, 0.0, 1.0)], n_features)
    failed = np.array([[1.0] * n_features])
    assert (build(root, background).values(failed)[0, : n_features - 1] == 0.0).all()


def test_a_plan_of_tables_gives_up_at_the_first_deep_tree(monkeypatch):
    forest = random_forest(2, n_trees=5, depth=6)
    assert plan_tables(forest).table_bytes == plan_trees(forest).table_bytes > 0
    read, usual = [], plan.read_paths
    monkeypatch.setattr(plan, "read_paths", lambda forest, root, _: read.append(root) or usual(forest, root))
    deep = path_of(70)
    assert plan_tables(replace(deep, roots=np.repeat(deep.roots, 9))) is None
    assert len(read) == 1


def test_tables_keep_within_the_memory_and_give_the_same_values():
    forest = random_forest(2, n_trees=8, depth=9, n_features=12, kinds="<=", stop=0.0)
    x, background = edge_rows(2, 30, 12), edge_rows(3, 200, 12)
    expected = build(forest, background, memory_mb=1024)
    assert not expected.deep
    forms = []
    for memory_mb in (16, 4, 1):
        made = plan_trees(forest, memory_mb=memory_mb)
        alone = any(section.alone.any() for section in made.sections)
        forms.append("deep" if made.deep else "potentials" if alone else "values")
        assert made.table_bytes <= memory_mb * 2**20
        found = build(forest, background, memory_mb=memory_mb)
        assert sum(part.lookup.table.nbytes for part in found.sections) == made.table_bytes
        assert found.values(x) == pytest.approx(expected.values(x), abs=1e-12)
    assert forms == ["values", "potentials", "deep"]


def test_groups_need_fewer_entries_than_their_leaves():
    forest = random_forest(9, n_trees=1, depth=6, n_features=30, kinds="<=,<")
    paths = read_paths(forest, int(forest.roots[0]))
    groups, leaves = group_leaves(paths), single_leaves(paths)
    assert sorted(place for group in groups for place in group.leaves) == list(range(len(paths.values)))
    assert len(groups) < len(leaves) / 4
    assert sum(group.n_states for group in leaves) >= 2 * sum(len(group.leaves) for group in groups)


def test_a_symmetric_tree_is_one_table():
    def grow(features):
        return ({"feature": features[0], "threshold": 0.1}, *[grow(features[1:])] * 2) if features else 1.0

    forest = make_forest([grow([0, 1, 2, 3, 4, 0])], 5)
    (group,) = group_leaves(read_paths(forest, 0))
    assert group.n_states == 2**5


def test_a_path_with_more_features_than_bits_is_refused():
    with pytest.raises(MethodError, match=r"70 features on one path, more than 64.*sampling"):
        plan_trees(path_of(70))


def test_walked_trees_refuse_a_background_that_is_too_large(monkeypatch):
    monkeypatch.setattr("spark_shap.core.trees.deep_tree._MAX_BACKGROUND", 40)
    made = plan_trees(path_of(20))
    rows = np.random.default_rng(0).normal(size=(60, 20))
    part = [BackgroundHistograms.local(made, half, np.ones(30)) for half in (rows[:30], rows[30:])]
    with pytest.raises(MethodError, match=r"60 distinct background rows.*at most 40 rows.*sampling"):
        part[0].merge(part[1])
