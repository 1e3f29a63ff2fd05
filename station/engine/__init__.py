"""The composition root: owns threads, processes, shutdown and watchdog.

``run`` puts the station together, ``loop`` is the frame loop, ``observer`` goes from a frame to what the kernel sees,
``outlet`` from what the kernel says to messages. Nothing is imported here: a command pays for its own part only.
"""
