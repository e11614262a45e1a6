"""The latents of a pose: names and channels, one token each."""

POSE_LATENTS = {"6drotation_normalized": 6, "translation": 3, "scale": 3, "translation_scale": 1}
