"""Networks, from scratch: blocks, ResNets, the LeNet before them, and the zoo of named ones.

Start with `resnet.py`. Every network maps images [N,C,H,W] (float) to logits [N,K], and offers
`forward_features`, `forward_head`, `reset_head` and `num_features`.
"""
