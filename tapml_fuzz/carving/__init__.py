"""From a model and real sentences to a corpus of small, real operator calls."""
