"""Mark what sentences describe in a picture, with trained models.

from tris_core.predict import Predictor

[prediction] = Predictor.load().predict("photo.jpg", ["man on the right"])
"""

from tris_core.predict.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
