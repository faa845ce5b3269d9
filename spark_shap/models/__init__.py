"""What is explained: models and the rows they take."""
