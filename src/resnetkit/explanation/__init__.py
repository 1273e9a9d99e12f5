"""Explaining a trained network: where in an image it sees a class, and how far such maps go.

Start with attribution.py: `METHODS` are all ways to a map, `attribute` is the one function that
makes them. The maps of class activation: layer_gradients.py, class_activation.py; of pixels:
pixel_gradients.py, occlusion.py. overlay.py draws a map over its image.
"""
