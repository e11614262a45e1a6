"""What SAM-3D-Objects computes outside of its networks, in numpy: pictures in, files out."""
