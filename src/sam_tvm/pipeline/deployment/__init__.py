"""Compiling every component for every target, and proving of each file what can be proved here."""
