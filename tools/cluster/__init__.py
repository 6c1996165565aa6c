"""What is done on a Ray cluster whatever is run there: it is joined, turns are given, images are drawn.

Ray is imported only when one of these is asked for.
"""
