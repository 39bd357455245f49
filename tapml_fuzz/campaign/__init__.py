"""Running a campaign: budget, schedule, the bench where cases run, and Hypothesis as the driver."""
