"""Networks, from scratch: blocks, ResNets, the LeNet before them, and the zoo of named ones.

Start with `resnet.py`. Every network maps images [N,C,H,W] (float) to logits [N,K] and offers
`forward_features`, `forward_head`, and `num_features`, the D of the features [N,D] that its
`classifier` reads. It comes apart into `parts()` between which `forward_until` and `forward_from`
stop and go on; `heads.replace_head` and `heads.extend_head` give it other classes.
"""
