"""Do the tools that look back tell what was so?"""
