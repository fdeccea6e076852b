"""What a function of the faces pipeline holds is written by a command here: programs that run there, and nowhere else.

Nothing of mu is imported by the programs, and they are imported by nothing of it.
"""
