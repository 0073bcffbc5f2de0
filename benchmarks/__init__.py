"""How fast is each part, against what it replaces?"""
