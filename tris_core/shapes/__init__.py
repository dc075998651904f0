"""The embedded data set `shapes`: generated scenes with expressions, in refer's layout."""
