"""`python -m qoemon`."""

from qoemon.cli import main

if __name__ == "__main__":
    main()
