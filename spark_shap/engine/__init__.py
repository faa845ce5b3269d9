"""Spark: frames in, frames out."""
