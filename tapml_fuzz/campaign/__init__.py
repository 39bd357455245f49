"""A campaign: its schedule, its workers, and the count of what they did."""
