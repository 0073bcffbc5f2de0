"""Is a process set up as its settings say?"""
