"""Keypoint tracks → strides: which leg swings, what the feet do over a cycle, when they meet and leave the belt."""
