"""SAM-3D-Objects: one file a component."""
