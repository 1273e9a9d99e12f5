"""Weights of other libraries: mapped by rule, every shape checked, and what was done reported.

`reading.py` takes a name, a file or a folder. Start with `convert.py`: it unwraps a checkpoint,
detects its layout and renames its keys (`layouts.py`), says which network they make (`infer.py`),
checks every entry (`complete.py`) and keeps the report beside it (`foreign.py`). Caffe's and Keras'
files have their own readers, which end in `complete.py` too.
"""
