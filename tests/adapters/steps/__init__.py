"""Does each step do on real parts what it promises?"""
