"""Spark in and out: sources, references, tables and runs."""
