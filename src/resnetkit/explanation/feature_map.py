"""A map of features in two dimensions, on which alike images lie close together.

"pca" keeps the two directions of largest spread: distances mean something, but most is left out.
"tsne" (van der Maaten & Hinton 2008) and "umap" (McInnes, Healy & Melville 2018) keep neighbours
together instead: groups mean something; their sizes and the distances between them do not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from resnetkit.types import UserError

FEWEST = 4  # images; three points lie on a plane whatever they are
DIRECTIONS = 50  # of largest spread, on which neighbours are sought: van der Maaten 2008, section 4
PERPLEXITY = 30.0  # neighbours that t-SNE heeds; of few images a third
NEIGHBOURS = 15  # that UMAP heeds, its own default


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureMap:
    """Places of images: `points` float32 [N,2]; `axes` say what the two directions are."""

    method: str
    points: np.ndarray
    axes: tuple[str, str]
    caution: str  # how the map must not be read


def map_features(features: np.ndarray, method: str = "pca", seed: int = 0) -> FeatureMap:
    """The map of features [N,D] by one of `METHODS`; the same input and seed give the same map.

    On one core t-SNE of 2,000 images takes some ten seconds, of 10,000 minutes; the others less.

    Raises:
        UserError: there is no such method, its package is missing, or the features are fewer than
            four, not finite or all the same.
    """
    if method not in METHODS:
        raise UserError(
            f"Feature map: needed a method of {', '.join(METHODS)}, got {method!r}; choose one."
        )
    images, width = features.shape
    if images < FEWEST or width < 2:
        raise UserError(
            f"Feature map: needed {FEWEST} images with 2 features or more, got {images} with "
            f"{width}; take more images."
        )
    if not np.isfinite(features).all():
        raise UserError(
            "Feature map: needed finite features, got some that are not; the network has diverged."
        )
    features = features.astype(np.float64)
    if np.ptp(features, axis=0).max() <= 1e-6 * np.abs(features).max():
        raise UserError(
            "Feature map: the features of all images are the same, so there is nothing to map: the "
            "network has collapsed, or the images are one."
        )
    return METHODS[method](features, seed)


def pca_map(features: np.ndarray, seed: int) -> FeatureMap:
    """The two directions of largest spread; nothing is drawn, `seed` has no effect."""
    places, shares = _principal(features, 2)
    first, second = (f"{ordinal} direction" for ordinal in ("first", "second"))
    return FeatureMap(
        method="pca",
        points=places.astype(np.float32),
        axes=(f"{first} ({shares[0]:.1%} of the variance)", f"{second} ({shares[1]:.1%})"),
        caution=(
            f"These two directions hold {shares.sum():.1%} of the variance: what lies together "
            "here may be apart in the others."
        ),
    )


def tsne_map(features: np.ndarray, seed: int) -> FeatureMap:
    """t-SNE of the directions of largest spread, by scikit-learn."""
    from sklearn.manifold import TSNE

    near, _ = _principal(features, DIRECTIONS)
    perplexity = min(PERPLEXITY, (len(near) - 1) / 3)
    # One job: threads would add in another order and so give other bits.
    method = TSNE(n_components=2, perplexity=perplexity, random_state=seed, n_jobs=1)
    return _neighbour_map("tsne", "t-SNE", method.fit_transform(near.astype(np.float32)))


def umap_map(features: np.ndarray, seed: int) -> FeatureMap:
    """UMAP of the directions of largest spread, by umap-learn."""
    with warnings.catch_warnings():
        # That TensorFlow is missing for a method not used here, and that a seed means one thread.
        warnings.simplefilter("ignore", ImportWarning)
        warnings.filterwarnings("ignore", message=".*overridden to 1 by setting random_state")
        try:
            from umap import UMAP  # pyright: ignore[reportMissingImports] - an extra
        except ImportError as error:
            raise UserError(
                "Feature map: the method umap needs the package umap-learn, which is not "
                "installed; run pip install 'resnetkit[umap]', or choose tsne."
            ) from error
        near, _ = _principal(features, DIRECTIONS)
        neighbours = min(NEIGHBOURS, len(near) - 1)
        # Random, where spectral starts fail: on few images, or groups that do not touch.
        start = "spectral" if len(near) > DIRECTIONS else "random"
        method = UMAP(n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1)
        points = method.fit_transform(near.astype(np.float32))
    return _neighbour_map("umap", "UMAP", np.asarray(points))


def _neighbour_map(method: str, shown: str, points: np.ndarray) -> FeatureMap:
    return FeatureMap(
        method=method,
        points=points.astype(np.float32),
        axes=(f"{shown} 1", f"{shown} 2"),
        caution=(
            f"{shown} keeps neighbours together: sizes of groups and distances between them mean "
            "nothing."
        ),
    )


def _principal(features: np.ndarray, directions: int) -> tuple[np.ndarray, np.ndarray]:
    """Features [N,D] along their directions of largest spread [N,d], and each one's variance [d].

    The variance as a share of the whole.
    """
    from sklearn.decomposition import PCA

    images, width = features.shape
    # Exact either way; the smaller of the two matrices is taken apart.
    solver = "covariance_eigh" if images >= width else "full"
    method = PCA(n_components=min(directions, images, width), svd_solver=solver)
    places = method.fit_transform(features)
    return places, method.explained_variance_ratio_


METHODS: dict[str, Callable[[np.ndarray, int], FeatureMap]] = {
    "pca": pca_map,
    "tsne": tsne_map,
    "umap": umap_map,
}
