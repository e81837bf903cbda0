"""`python -m latnas`, and so `torchrun -m latnas`."""

from latnas.cli.app import main

if __name__ == "__main__":
    main()
