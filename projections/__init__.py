"""What can be read?"""
