"""`python -m latnas`, and so `torchrun -m latnas`."""

from latnas.cli.entry import main

if __name__ == "__main__":
    main()
