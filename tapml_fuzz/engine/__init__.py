"""One case on a reference and candidates, judged; the next one; the reduction of a failure."""
