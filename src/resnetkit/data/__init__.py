"""Where images come from and how each becomes what the network takes.

`sources` reads a location into splits (one module per format), `contract` says what the network
takes, `transforms` brings one image there on the CPU, `splits` divides training data.
"""
