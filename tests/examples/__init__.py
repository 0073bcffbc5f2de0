"""Do the small programs of examples/ do what they show?"""
