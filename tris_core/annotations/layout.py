"""Names of the data sets, their partitions, and where their images are under the root."""

IMAGE_FOLDERS = {
    "shapes": "images",
    "refcoco": "train2014",
    "refcoco+": "train2014",
    "refcocog": "train2014",
    "referit": "referit/images",
    "list": "",  # paths in a list are relative to the root itself
}
PARTITIONS = {
    "shapes": ("demo",),
    "refcoco": ("unc", "google"),
    "refcoco+": ("unc",),
    "refcocog": ("umd", "google"),
    "referit": ("none",),
    "list": ("none",),
}
