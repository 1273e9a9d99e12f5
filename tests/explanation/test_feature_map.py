import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.explanation.feature_map import map_features
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


def clusters(count=3, each=20, width=16, seed=0):
    generator = np.random.default_rng(seed)
    centers = generator.normal(0, 10, (count, width))
    labels = np.repeat(np.arange(count), each)
    features = centers[labels] + generator.normal(0, 1, (count * each, width))
    return features.astype(np.float32), labels


def apart(points, labels):
    """Whether every point's nearest neighbour is of its own class."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return (labels[distances.argmin(1)] == labels).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 30), st.integers(2, 40), st.integers(0, 99))
def test_principal_directions_are_those_of_the_decomposition(images, width, seed):
    features = np.random.default_rng(seed).normal(2, 1, (images, width)).astype(np.float32)
    found = map_features(features, "pca")
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, values, _ = np.linalg.svd(centered, full_matrices=False)
    expected = left[:, :2] * values[:2]
    signs = np.sign((expected * found.points).sum(axis=0))
    gap = values[0] - values[1], values[1] - (values[2] if len(values) > 2 else 0)
    if min(gap) > 0.05:  # else the directions are any of a plane
        np.testing.assert_allclose(found.points, expected * signs, atol=1e-3)
    shares = values**2 / (values**2).sum()
    assert found.axes[0] == f"first direction ({shares[0]:.1%} of the variance)"
    assert f"hold {shares[:2].sum():.1%} of the variance" in found.caution


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_groups_stay_apart_and_the_map_is_the_same_again(method):
    features, labels = clusters()
    found = map_features(features, method)
    assert found.points.shape == (60, 2)
    assert found.points.dtype == np.float32
    assert apart(found.points, labels)
    np.random.seed(5)  # the process's own state must not matter
    np.testing.assert_array_equal(map_features(features, method).points, found.points)


def test_umap_where_it_is_installed():
    pytest.importorskip("umap", reason="an extra: pip install 'resnetkit[umap]'")
    features, labels = clusters()
    found = map_features(features, "umap")
    assert apart(found.points, labels)
    np.testing.assert_array_equal(map_features(features, "umap").points, found.points)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_few_images_and_few_features(method):
    for shape in ((4, 2), (5, 100), (40, 2)):
        features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        found = map_features(features, method)
        assert found.points.shape == (shape[0], 2)
        assert np.isfinite(found.points).all()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"needs the package umap-learn.*pip install 'resnetkit"):
        map_features(clusters()[0], "umap")


def test_what_cannot_be_mapped_is_refused():
    features, _ = clusters()
    with pytest.raises(UserError, match="needed a method of pca, tsne, umap, got 'lle'"):
        map_features(features, "lle")
    with pytest.raises(UserError, match="needed 4 images with 2 features or more, got 3 with 16"):
        map_features(features[:3])
    with pytest.raises(UserError, match="got 60 with 1"):
        map_features(features[:, :1])
    with pytest.raises(UserError, match="the features of all images are the same"):
        map_features(np.full((9, 3), 0.3, np.float32))
    features[2, 3] = np.nan
    with pytest.raises(UserError, match="needed finite features"):
        map_features(features)
