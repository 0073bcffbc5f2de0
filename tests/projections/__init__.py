"""Given what was recorded, what can be read?"""
