"""The 15 common corruptions of Hendrycks & Dietterich (2019), whole batches at a time.

`catalogue.py` lists them, `severities.py` holds the published parameters, and `noise.py`,
`blur.py`, `weather.py` (with `frost.py`) and `digital.py` the corruptions themselves; `keys.py` is
where their randomness comes from, `resampling.py` what several of them share.

Why not a library (November 2026): none is kept up that has them all as published.
`imagecorruptions` 1.1.2, the one in use, calls what scikit-image and NumPy 2 have dropped (its
issue 30, open since May 2025), has the parameters for 224 pixels alone and takes one image at a
time; `imagenet-c` fails alike (hendrycks/robustness, issue 64) and needs ImageMagick as well;
kornia and albumentations have relatives of a few with other definitions. Those followed here are
those of the code that made ImageNet-C, Tiny-ImageNet-C and CIFAR-10-C; tests hold each to the
library calls of that code, image by image. Different on purpose:

- Frost: the photographs are not ours to ship. `frost.py` makes textures like them; a folder with
  the originals can be given instead.
- ImageNet-C's files were saved as JPEG of quality 85 afterwards; what is shown here was not.
- The same draws serve all five severities of an image, so that only the severity differs.
"""
