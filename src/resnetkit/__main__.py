"""`python -m resnetkit` is the `resnetkit` command."""

from resnetkit.cli import main

if __name__ == "__main__":
    main()
