"""Tools of a checkout."""
