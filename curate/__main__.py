"""`python -m curate`: the command line, for those who start it by its module (torchrun does)."""

from curate.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
