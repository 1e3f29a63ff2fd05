"""`station calibrate`: where the camera stands and what its lens does, from a printed target on the belt."""
