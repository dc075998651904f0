"""`tris demo`: a local web page that marks what sentences describe in a picture."""
