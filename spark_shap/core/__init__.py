"""The mathematics: numpy and the standard library only, no pandas, no Spark."""
