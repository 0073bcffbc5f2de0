"""Are the commands of the terminal as promised?"""
