"""`tris demo`: a local web page on which one picks a picture, types sentences and sees what the models mark."""
