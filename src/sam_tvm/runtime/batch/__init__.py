"""Segmenting many pictures: finding them, keeping track, writing COCO's JSON."""
