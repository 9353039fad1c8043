"""`python -m joulebit.cli`."""

from joulebit.cli.main import main

main()
