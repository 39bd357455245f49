"""The vocabulary every other room speaks: operators, cases, outcomes, events, errors."""
