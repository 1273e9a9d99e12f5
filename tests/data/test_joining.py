"""Images of several sources in one split, decoded alike or encoded alike."""

import numpy as np

from resnetkit.data.contract import InputContract
from resnetkit.data.joining import concatenate_any, fit_split, to_encoded
from resnetkit.data.source_types import Split
from resnetkit.data.transforms import decode_split


def noise(count, side, channels=3, labels=None):
    """A split of decoded arrays."""
    generator = np.random.default_rng(side)
    return Split(
        labels=np.arange(count) % 2 if labels is None else labels,
        names=[f"{side}/{n}.png" for n in range(count)],
        images=generator.integers(0, 256, (count, channels, side, side), dtype=np.uint8),
    )


def contract(side, color_mode="RGB"):
    channels = 3 if color_mode == "RGB" else 1
    return InputContract(
        class_names=("a", "b"),
        color_mode=color_mode,
        resize=side,
        crop=(side, side),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


def test_arrays_become_pngs_that_lose_nothing():
    for channels, color_mode in ((1, "L"), (3, "RGB")):
        arrays = noise(5, 7, channels)
        encoded = to_encoded(arrays)
        assert encoded.images is None
        assert np.array_equal(decode_split(encoded, contract(7, color_mode))[0], arrays.images)


def test_arrays_of_one_size_stay_arrays_and_others_become_pngs():
    alike = concatenate_any([noise(3, 7), noise(2, 7)])
    assert alike.images is not None
    assert len(alike) == 5
    for other in (noise(2, 9), to_encoded(noise(2, 7)), noise(2, 7, channels=1)):
        mixed = concatenate_any([noise(3, 7), other])
        assert mixed.images is None
        assert list(mixed.names) == [*noise(3, 7).names, *other.names]
        images, failures = decode_split(mixed, contract(7))
        assert not failures
        assert np.array_equal(images[:3], noise(3, 7).images)


def test_class_numbers_among_shares_become_shares():
    shares = np.array([[0.25, 0.75]], np.float32)
    joint = concatenate_any([noise(2, 7), noise(1, 7, labels=shares)])
    assert joint.labels.tolist() == [[1, 0], [0, 1], [0.25, 0.75]]
    assert joint.labels.dtype == np.float32


def test_arrays_are_fitted_to_each_networks_own_contract():
    assert fit_split(noise(4, 7), contract(9)).images.shape == (4, 3, 9, 9)
    encoded = to_encoded(noise(4, 7))
    assert fit_split(encoded, contract(9)) is encoded
