"""Notebooks for the board; `pynq get-notebooks joulebit` copies them to where Jupyter looks."""
