"""Training efficiency: accuracy per joule over epochs, widths and stopping criteria, and what overtraining does
to it.

`formulas.py` has the equations, `overtraining.py` the analysis of Table 13, `study.py` the runs that a file
describes, `inputs.py` and `trials.py` what finished runs and campaigns tell, `analysis.py` the tables, `table.py`,
`figures.py` and `page.py` what they look like.

Source: E. Cueto-Mendoza, J. Kelleher, "A framework for measuring the training efficiency of a neural
architecture", Artificial Intelligence Review, 2024.
"""
