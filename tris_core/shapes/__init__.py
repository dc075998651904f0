"""`shapes`, the embedded data set: generated scenes, expressions that name one object each, and refer's file layout."""
