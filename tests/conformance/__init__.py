"""What every platform must do, run against each that is available here."""
