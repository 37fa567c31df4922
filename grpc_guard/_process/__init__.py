"""The switch: the guard of the whole process, and the patches by which it reaches a program."""
