"""What was so, when and why?"""
