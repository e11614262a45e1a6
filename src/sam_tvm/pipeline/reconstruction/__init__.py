"""The end-to-end comparison of SAM-3D-Objects: the reference, the port, the judgement."""
