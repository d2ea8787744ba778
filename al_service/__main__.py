"""`python -m al_service` is the same as `al`."""

from al_service.cli.main import main

if __name__ == "__main__":
    main()
