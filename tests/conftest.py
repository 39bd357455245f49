"""What every test run has: the table of platforms that the conformance kit ran on."""

from tests.conformance.outcomes import pytest_itemcollected, pytest_terminal_summary

__all__ = ["pytest_itemcollected", "pytest_terminal_summary"]
