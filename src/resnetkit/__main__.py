"""`resnetkit` and `python -m resnetkit`: the command line, Ctrl-C during its imports included."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from resnetkit.cli import main as run

        run()
    except KeyboardInterrupt:
        print("resnetkit: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
