"""How `golden/keras-*` were made: by Keras itself, from its own builders, weights of a few bits.

Needs keras and h5py (3.15.1 and 3.16.0 wrote the files here), neither of which the tests need:
    KERAS_BACKEND=torch python tests/models/weights/make_keras_golden.py tests/models/weights/golden
A further argument, such as ResNet101V2, makes that one in full size instead, to check by hand.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import keras
import numpy as np
from keras.src.applications import resnet
from safetensors.numpy import save_file

SUFFIXES = (".h5", ".weights.h5", ".keras")


def narrow_v1(x):
    x = resnet.stack_residual_blocks_v1(x, 4, 2, stride1=1, name="conv2")
    return resnet.stack_residual_blocks_v1(x, 8, 3, name="conv3")


def narrow_v2(x):
    x = resnet.stack_residual_blocks_v2(x, 4, 2, name="conv2")
    return resnet.stack_residual_blocks_v2(x, 8, 3, stride1=1, name="conv3")


def narrow_network(version: int, size: int) -> keras.Model:
    return resnet.ResNet(
        narrow_v1 if version == 1 else narrow_v2,
        preact=version == 2,
        use_bias=True,
        weights=None,
        input_shape=(size, size, 3),
        classes=7,
        classifier_activation=None,
        name=f"narrow_v{version}",
    )


def randomise(network: keras.Model) -> None:
    """Every entry as after training, in steps coarse enough for gzip to shrink the files."""
    random = np.random.default_rng(0)
    ranges = {"gamma": (0.5, 1.0), "moving_variance": (0.5, 1.5)}
    for layer in network.layers:
        for weight in layer.weights:
            name = weight.path.split("/")[-1]
            if name == "kernel":
                scale = 2.0 ** np.round(np.log2(2 / np.prod(weight.shape[:-1])) / 2)
                values = np.round(random.normal(size=weight.shape) * 8) / 8 * scale
            else:
                low, high = ranges.get(name, (-0.5, 0.5))
                values = np.round(random.uniform(low, high, size=weight.shape) * 64) / 64
            weight.assign(values.astype(np.float32))


def images_of(count: int, size: int) -> np.ndarray:
    """Pixels [N,H,W,C] uint8 that need not be stored: the tests compute the same ones.

    Cells of 5x5 pixels, so that something is left after pooling; the stream is guaranteed (NEP 19).
    """
    cells = -(-size // 5)
    raw = np.random.Philox(key=1).random_raw(count * cells * cells * 3)
    colors = (raw >> np.uint64(56)).astype(np.uint8).reshape(count, cells, cells, 3)
    return colors.repeat(5, 1).repeat(5, 2)[:, :size, :size]


def logits_of(network: keras.Model, version: int, images: np.ndarray) -> np.ndarray:
    prepare = (keras.applications.resnet, keras.applications.resnet_v2)[version - 1]
    return np.asarray(network.predict(prepare.preprocess_input(images.astype(np.float32))))


def save(network: keras.Model, version: int, stem: Path, images: np.ndarray) -> None:
    save_file({"logits": logits_of(network, version, images)}, f"{stem}.safetensors")
    for suffix in SUFFIXES:
        path = Path(f"{stem}{suffix}")
        (network.save_weights if suffix == ".weights.h5" else network.save)(path)


def main() -> None:
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        version = 2 if name.endswith("V2") else 1
        network = getattr(keras.applications, name)(weights=None, classifier_activation=None)
        randomise(network)
        save(network, version, folder / name, images_of(1, 224))
    if sys.argv[2:]:
        return
    for version, size in ((1, 64), (2, 75)):
        network = narrow_network(version, size)
        randomise(network)
        stem = folder / f"keras-v{version}"
        save(network, version, stem, images_of(2, size))
        for suffix in SUFFIXES:
            path = Path(f"{stem}{suffix}")
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
            path.unlink()


if __name__ == "__main__":
    main()
