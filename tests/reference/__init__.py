"""A whole training step and evaluation in plain Python integers, written from the specification alone.

`network.ReferenceNetwork` shares no arithmetic with the package: only the description of a network
(`joulebit.nn.graph`) and the scalars and the list of a convolution's products of the tests' own `oracle`. It keeps
the parameters, momenta, exponents and ranges of a run, so that it can go side by side with the integer network.
Slow, for tiny networks only.
"""
