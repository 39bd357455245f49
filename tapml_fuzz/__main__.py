"""`python -m tapml_fuzz`."""

from tapml_fuzz.cli.main import main

if __name__ == "__main__":
    main()
