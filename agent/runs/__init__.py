"""Single runs, each in a folder of its own: start, resume, fork, steer and reproduce."""
