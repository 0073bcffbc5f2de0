"""Reports: the data that the terminal and the console show, each made in one place."""
