"""`python -m clawpurse.cli`: the command line without the installed script."""

from clawpurse.cli.main import main

if __name__ == "__main__":
    main()
