"""The derivation carried out: every equation proved on numbers."""
