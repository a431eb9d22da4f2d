"""Other libraries' models as denoisers, and denoisers as theirs. Each adapter is imported by its own name."""
