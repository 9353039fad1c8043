"""Training efficiency: accuracy per joule over epochs, widths and stopping criteria, and what overtraining does
to it.

`formulas.py` has the equations, `overtraining.py` the analysis of Table 13, `plan.py` the study that a file
describes, `study.py` carries it out or reads finished runs, `page.py` writes its page.

Source: E. Cueto-Mendoza, J. Kelleher, "A framework for measuring the training efficiency of a neural
architecture", Artificial Intelligence Review, 2024.
"""
