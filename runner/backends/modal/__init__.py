"""Runs on Modal; the only room that knows the client of Modal."""
