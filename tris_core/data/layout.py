"""Where the images of a data set lie under its root, as the downloads lay them out."""

IMAGE_FOLDERS = {"refcoco": "train2014", "refcoco+": "train2014", "refcocog": "train2014", "shapes": "images"}
